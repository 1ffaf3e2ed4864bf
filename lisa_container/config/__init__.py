"""What a user asks for: `ContainerTestConfig`, the same object in Python and in YAML.

One file per noun: `model` holds the config, the others hold the rules for its values, which are
those of `docker run`. All rules are applied when a config is constructed, so a config that exists
is legal, and a wrong value fails before anything is created on a node.

A rule that only the node can decide (does the device exist, has it that many CPUs, does its engine
know this capability) is not checked here.
"""

from lisa_container.config.build import BuildSpec
from lisa_container.config.images import LOCAL_REPOSITORY
from lisa_container.config.limits import Ulimit
from lisa_container.config.model import ContainerTestConfig, Evidence, PullPolicy, Scope
from lisa_container.config.mounts import HOST_ROOT
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
    "Mirror",
    "PullPolicy",
    "RegistrySettings",
    "Scope",
    "Ulimit",
]
