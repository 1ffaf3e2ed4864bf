"""`ensure_image`: bring the image of a config onto a node, by a pull or by making it there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, TypeVar

from lisa_container.config import (
    LOCAL_REPOSITORY,
    ContainerTestConfig,
    ImageReference,
    PullPolicy,
)
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, ImageNotFoundError
from lisa_container.images.find import find_image
from lisa_container.images.local import MAKERS
from lisa_container.images.lock import image_lock
from lisa_container.images.pull import pull_image

T = TypeVar("T")


@dataclass
class _SeenImages:
    """Images that were seen on a node."""

    names: dict[ImageReference, ImageReference] = field(default_factory=dict)
    """The name that was asked for -> the name or id by which the engine knows the image."""


def with_image(
    engine: Engine, config: ContainerTestConfig, work: Callable[[ContainerTestConfig], T]
) -> T:
    """Do work that needs the config's image, and look for the image only once for each engine.

    If the image was removed since then, it is fetched again and the work is repeated.

    Args:
        engine: engine of the node.
        config: names the image and the pull policy.
        work: called with the config to use, see `ensure_image`. Where the image is missing, it
            raises ImageNotFoundError before it has changed anything.

    Returns:
        The result of `work`.

    Raises:
        ImageNotFoundError, ConfigError, EngineError: see `ensure_image`; or an error of `work`.
    """
    reference = config.parsed_image
    seen = engine.state(_SeenImages).names
    # A tag may later name another platform's image, so do not cache it.
    is_steady = config.pull_policy is not PullPolicy.ALWAYS and not config.platform
    if is_steady and reference in seen:
        try:
            return work(_renamed(config, seen[reference]))
        except ImageNotFoundError:
            engine.node.log.debug(f"image '{reference}' is not on node '{engine.name}' any more")
    fetched = ensure_image(engine, config)
    seen[reference] = fetched.parsed_image
    return work(fetched)


def ensure_image(engine: Engine, config: ContainerTestConfig) -> ContainerTestConfig:
    """Bring the config's image onto the node, as its pull policy says.

    Args:
        engine: engine of the node.
        config: names the image, the platform and the policy.

    Returns:
        The config with the name by which the engine knows the image. It differs from the given one
        only where an image pinned to a digest has another name, for example that of a mirror.

    Raises:
        ImageNotFoundError: the image is not on the node, and could not or may not be pulled.
        ConfigError: the name begins with `lisa_container/`, and no such image can be made.
        EngineError: making the image failed.
    """
    reference, platform, policy = config.parsed_image, config.platform, config.pull_policy
    with image_lock(engine, reference):
        if reference.is_local:
            if not find_image(engine, reference):
                _make(engine, reference)
            return config
        known = find_image(engine, reference, platform)
        if policy is PullPolicy.NEVER and not known:
            for_platform = f", and there is none for {platform}" if platform else ""
            reason = f"pull_policy is 'never'{for_platform}"
            raise ImageNotFoundError(str(reference), engine.name, reason)
        if policy is PullPolicy.ALWAYS or not known:
            known = pull_image(engine, reference, platform=platform)
    return _renamed(config, known)


def _renamed(config: ContainerTestConfig, known: ImageReference) -> ContainerTestConfig:
    return config if known == config.parsed_image else config.merged(image=str(known))


def _make(engine: Engine, reference: ImageReference) -> None:
    maker = MAKERS.get(reference.repository.removeprefix(LOCAL_REPOSITORY))
    if maker is None:
        legal = ", ".join(f"'{LOCAL_REPOSITORY}{name}'" for name in MAKERS)
        raise ConfigError(
            f"image: '{reference}' is neither on node '{engine.name}' nor can be made there; "
            f"what can be made is {legal}"
        )
    maker(engine, reference)
