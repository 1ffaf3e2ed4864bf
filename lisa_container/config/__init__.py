"""`ContainerTestConfig`: the wishes of a user for a container, the same in Python and in YAML.

`model` has the config, and the other files have the rules for its values, which follow `docker
run`. The constructor applies all rules: a config that exists is legal, and a wrong value fails
before anything is created on a node.

Some facts only the node knows, such as its devices, its number of CPUs and the capabilities of its
engine. They are not checked here.
"""

from lisa_container.config.build import BuildSpec
from lisa_container.config.choices import Evidence, Init, KeepContainers, PullPolicy, Scope
from lisa_container.config.limits import Ulimit
from lisa_container.config.model import ContainerTestConfig
from lisa_container.config.mounts import HOST_ROOT
from lisa_container.config.reference import LOCAL_REPOSITORY, ImageReference
from lisa_container.config.runbook import ConfigFields
from lisa_container.config.settings import ContainerSettings, Mirror, RegistrySettings

__all__ = [
    "HOST_ROOT",
    "LOCAL_REPOSITORY",
    "BuildSpec",
    "ConfigFields",
    "ContainerSettings",
    "ContainerTestConfig",
    "Evidence",
    "ImageReference",
    "Init",
    "KeepContainers",
    "Mirror",
    "PullPolicy",
    "RegistrySettings",
    "Scope",
    "Ulimit",
]
