"""`build_image`: an image from a Dockerfile, on the node, unless the node has it already.

Its name, `lisa_container/build:<key>`, is a hash of all that it is made of: the Dockerfile, the
files that it may copy, the arguments, and the ids of the images below. It is a cache like
`lisa_container/tools`: it carries the label of the run that made it and no lease, so it outlives
the run. What a build that was cut short leaves carries the lease.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker.errors

from lisa_container.config import LOCAL_REPOSITORY, BuildSpec, ContainerTestConfig, PullPolicy
from lisa_container.engine.api import is_timeout
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL, RUN_LABEL, run_id
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import ConfigError, EngineTimeoutError
from lisa_container.images.build.context import DOCKERFILE, Context
from lisa_container.images.build.dockerfile import Dockerfile
from lisa_container.images.build.output import BuildOutput, secret_args
from lisa_container.images.ensure import ensure_image
from lisa_container.images.find import find_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.lock import image_lock

REPOSITORY = f"{LOCAL_REPOSITORY}build"
"""What the built images of a node are called; the tag is the key."""

# To be raised when what is done to build an image changes.
_VERSION = 1

# Seconds without a word of the engine: a step may compile for long and say nothing.
_TIMEOUT = 1800.0


def built_config(engine: Engine, config: ContainerTestConfig) -> ContainerTestConfig:
    """The config with the image that its `build` gives, built now or before; itself without one.

    Raises:
        ImageBuildError: see `build_image`, which may raise others too.
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
    """Build an image on a node; nothing is done where it is there already.

        reference = build_image(engine, BuildSpec(context="images/tools"))

    Args:
        engine: of the node (`node.tools[DockerAdvanced].engine`).
        spec: what to build.
        pull_policy: of the images below.
        timeout: seconds that a step may take without printing anything. 1800 by default.
        platform: of the image and those below, `linux/arm64` say; the node's own by default.

    Returns:
        The image's name, `lisa_container/build:<key>`.

    Raises:
        ConfigError: the Dockerfile or context is not there or cannot be read; nothing was sent.
        ImageNotFoundError: an image below is not there and could not be pulled.
        ImageBuildError: a step failed, or the engine does not understand the Dockerfile.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: a step printed nothing for too long.
        EngineError: the engine refused.
    """
    dockerfile = Dockerfile(_text(spec.check_files()))
    context = Context(spec)
    bases = dockerfile.bases(spec.args, spec.target)
    ids = [_base_id(engine, base, pull_policy, platform) for base in bases]
    reference = f"{REPOSITORY}:{_key(spec, dockerfile, context, ids, platform)}"
    with image_lock(engine, reference):
        if not find_image(engine, reference):
            _build(engine, reference, spec, dockerfile, context, timeout, platform)
    return reference


def _text(spec: BuildSpec) -> str:
    if spec.dockerfile_inline:
        return spec.dockerfile_inline
    try:
        return Path(spec.dockerfile).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
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
    content: list[Any] = [_VERSION, dockerfile.text, context.digest(), list(bases)]
    content += [dict(spec.args), spec.target, spec.network, platform]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _build(
    engine: Engine,
    reference: str,
    spec: BuildSpec,
    dockerfile: Dockerfile,
    context: Context,
    timeout: float,
    platform: str,
) -> None:
    node = engine.node
    node.log.info(f"building '{reference}' on '{engine.name}', context {context.size} bytes")
    for name in secret_args(spec.args):
        node.log.warning(
            f"build argument '{name}' looks like a secret: it ends in the image's history, where "
            "all can read it who have the image"
        )
    output = BuildOutput(engine, reference, dockerfile, spec.args)
    # Each stage is labelled at its begin, for what is there when a build is cut short; the result
    # is a cache, and an empty lease is none.
    lease = Lease.of(engine).labels().get(LEASE_LABEL, "")
    text = dockerfile.labelled(f"LABEL {LEASE_LABEL}={lease}")
    parameters = {
        "dockerfile": DOCKERFILE,
        "buildargs": json.dumps(dict(spec.args)),
        "labels": json.dumps({RUN_LABEL: run_id(), LEASE_LABEL: ""}),
        "target": spec.target,
        "platform": platform,
        "networkmode": spec.network,
        "rm": True,
        "forcerm": True,
    }
    parameters = {name: value for name, value in parameters.items() if value}
    with engine.errors(image=reference):
        try:
            stream = context.stream(text)
            for line in engine.api.build_progress(stream, parameters, timeout):
                output.take(line)
        except docker.errors.APIError as error:
            raise output.failure(str(error.explanation or error)) from error
        except Exception as error:
            if is_timeout(error):
                what = f"get on with building '{reference}', step {output.step},"
                raise EngineTimeoutError(engine.name, what, timeout) from error
            raise
    output.end()
    if not output.image:
        raise output.failure("the engine did not say which image that is")
    adopt(engine, output.image, reference)
