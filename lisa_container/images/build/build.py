"""`build_image`: build an image from a Dockerfile on a node, unless the node has it already.

The image's name, `lisa_container/build:<key>`, contains a hash of all its input: the Dockerfile,
the files that it may copy, the arguments, and the ids of the base images. The image is a cache like
`lisa_container/tools`: it has the label of the run that made it and no lease, so it outlives the
run. Images that an interrupted build leaves have the lease.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker.errors

from lisa_container.config import (
    LOCAL_REPOSITORY,
    BuildSpec,
    ContainerTestConfig,
    ImageReference,
    PullPolicy,
)
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.engine.http.api import is_timeout
from lisa_container.engine.labels import LEASE_LABEL, OWNER_LABEL, RUN_LABEL, run_id, stage_label
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import ConfigError, EngineTimeoutError
from lisa_container.images.build.context import DOCKERFILE, Context
from lisa_container.images.build.dockerfile import Dockerfile
from lisa_container.images.build.output import BuildOutput
from lisa_container.images.ensure import ensure_image
from lisa_container.images.find import find_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.lock import image_lock
from lisa_container.masking import Plain, is_secret

REPOSITORY = f"{LOCAL_REPOSITORY}build"
"""Repository of the built images; the tag is the key."""

# A part of the key: raise it when this module builds the same input differently.
_VERSION = 2

# Seconds without any message of the engine: a step may compile for long and print nothing.
_TIMEOUT = 1800.0


def built_config(engine: Engine, config: ContainerTestConfig) -> ContainerTestConfig:
    """Return the config with the image of its `build`, built now or before.

    A config without `build` is returned unchanged.

    Raises:
        ImageBuildError: or another error; see `build_image`.
    """
    if not config.build:
        return config
    reference = build_image(engine, config.build_spec, config.pull_policy, platform=config.platform)
    return config.merged(image=reference)


def build_image(
    engine: Engine,
    spec: BuildSpec,
    pull_policy: PullPolicy = PullPolicy.MISSING,
    timeout: float = _TIMEOUT,
    platform: str = "",
) -> str:
    """Build an image on a node, unless the node has it already.

        name = build_image(engine, BuildSpec(context="images/tools"))

    Args:
        engine: engine of the node (`node.tools[DockerAdvanced].engine`).
        spec: what to build.
        pull_policy: when to pull the base images.
        timeout: seconds that a step may take without printing anything. 1800 by default.
        platform: platform of the image and of its base images, such as `linux/arm64`; the node's
            own by default.

    Returns:
        The image's name, `lisa_container/build:<key>`.

    Raises:
        ConfigError: the Dockerfile or the context cannot be read; nothing was sent.
        ImageNotFoundError: a base image is not on the node and could not be pulled.
        ImageBuildError: a step failed, or the engine does not understand the Dockerfile.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: a step printed nothing for too long.
        EngineError: the engine refused.
    """
    dockerfile = Dockerfile(_content(spec.check_files()))
    context = Context(spec)
    bases = dockerfile.bases(spec.args, spec.target)
    ids = [_base_id(engine, base, pull_policy, platform) for base in bases]
    key = _key(spec, dockerfile, context, ids, platform)
    reference = ImageReference(repository=REPOSITORY, tag=key)
    with image_lock(engine, reference):
        if not find_image(engine, reference):
            _build(engine, reference, spec, dockerfile, context, timeout, platform)
    return str(reference)


def _content(spec: BuildSpec) -> bytes:
    if spec.dockerfile_inline:
        return spec.dockerfile_inline.encode("utf-8", "surrogateescape")
    try:
        return Path(spec.dockerfile).read_bytes()
    except OSError as error:
        message = f"build.dockerfile: '{spec.dockerfile}' cannot be read: {error}"
        raise ConfigError(message) from error


def _base_id(engine: Engine, base: str, pull_policy: PullPolicy, platform: str) -> str:
    config = ContainerTestConfig(image=base, pull_policy=pull_policy, platform=platform)
    config = ensure_image(engine, config)
    with engine.errors(image=base):
        return str(engine.api.inspect_image(config.image_reference)["Id"])


def _key(
    spec: BuildSpec, dockerfile: Dockerfile, context: Context, bases: Sequence[str], platform: str
) -> str:
    text = dockerfile.content.decode("utf-8", "surrogateescape")
    content: list[Any] = [_VERSION, text, context.digest(), list(bases)]
    content += [dict(spec.args), spec.target, spec.network, platform]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _build(
    engine: Engine,
    reference: ImageReference,
    spec: BuildSpec,
    dockerfile: Dockerfile,
    context: Context,
    timeout: float,
    platform: str,
) -> None:
    node = engine.node
    for name in (name for name, value in spec.args.items() if value and is_secret(name)):
        node.log.warning(
            Plain(
                f"build argument '{name}' looks like a secret: its value is stored in the image's "
                "history, which all users of the image can read"
            )
        )
    output = BuildOutput(engine, reference, dockerfile, spec.args)
    # Each stage is labelled at its start, for the images of an interrupted build. The result is a
    # cache: an empty label is no lease.
    labelled = dockerfile.labelled(stage_label(Lease.of(engine).image_labels()))
    parameters = {
        "dockerfile": DOCKERFILE,
        "buildargs": json.dumps(dict(spec.args)),
        "labels": json.dumps({RUN_LABEL: run_id(), LEASE_LABEL: "", OWNER_LABEL: ""}),
        "target": spec.target,
        "platform": platform,
        "networkmode": spec.network,
        "rm": True,
        "forcerm": True,
    }
    parameters = {name: value for name, value in parameters.items() if value}
    what = f"building image '{reference}' on node '{engine.name}', context {context.size} bytes"
    with Activity(what, node.log, output.last_words), engine.errors(image=str(reference)):
        try:
            stream = context.stream(labelled)
            for line in engine.api.build_progress(stream, parameters, timeout):
                output.add(line)
        except docker.errors.APIError as error:
            raise output.failure(str(error.explanation or error)) from error
        except Exception as error:
            if is_timeout(error):
                what = f"continue building '{reference}', step {output.step},"
                raise EngineTimeoutError(engine.name, what, timeout) from error
            raise
    output.end()
    if not output.image:
        raise output.failure("the engine did not name the built image")
    adopt(engine, output.image, reference)
