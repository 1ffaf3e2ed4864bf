"""The image of a config, on the node: there already, pulled, or made on the spot."""

from __future__ import annotations

import threading
import weakref
from typing import Callable, TypeVar

from lisa_container.config import LOCAL_REPOSITORY, ContainerTestConfig, PullPolicy
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, ImageNotFoundError
from lisa_container.images.find import find_image
from lisa_container.images.local import MAKERS
from lisa_container.images.lock import image_lock
from lisa_container.images.pull import pull_image

# Names of images that were seen on the node, and what the engine knows them by.
_seen: weakref.WeakKeyDictionary[Engine, dict[str, str]] = weakref.WeakKeyDictionary()
_seen_lock = threading.Lock()

T = TypeVar("T")


def with_image(
    engine: Engine, config: ContainerTestConfig, work: Callable[[ContainerTestConfig], T]
) -> T:
    """Do something that needs the config's image; it is looked for only once for each engine.

    An image that somebody removed since is fetched anew, and the work is done again.

    Args:
        engine: of the node.
        config: names the image and the policy.
        work: gets the config to use, see `ensure_image`; raises ImageNotFoundError, having done
            nothing, where the image is not there.

    Raises:
        ImageNotFoundError, ConfigError, EngineError: see `ensure_image`; or what the work raises.
    """
    reference = config.image_reference
    with _seen_lock:
        seen = _seen.setdefault(engine, {})
    # By one name a node may have an image now for this platform, now for that.
    is_steady = config.pull_policy is not PullPolicy.ALWAYS and not config.platform
    if is_steady and reference in seen:
        try:
            return work(_by(config, seen[reference]))
        except ImageNotFoundError:
            engine.node.log.debug(f"image '{reference}' is not on node '{engine.name}' any more")
    fetched = ensure_image(engine, config)
    with _seen_lock:
        seen[reference] = fetched.image_reference
    return work(fetched)


def ensure_image(engine: Engine, config: ContainerTestConfig) -> ContainerTestConfig:
    """Bring the config's image onto the node, as its pull policy says.

    Args:
        engine: of the node.
        config: names the image, the platform and the policy.

    Returns:
        The config by which the engine knows the image: nearly always the same. An image that is
        pinned to a digest may have come by another name, from a mirror.

    Raises:
        ImageNotFoundError: it is not there and could not be pulled, or may not be.
        ConfigError: an image of ours that we do not know how to make.
        EngineError: making it failed.
    """
    reference, platform, policy = config.image_reference, config.platform, config.pull_policy
    with image_lock(engine, reference):
        if config.is_local_image:
            if not find_image(engine, reference):
                _make(engine, reference)
            return config
        known = find_image(engine, reference, platform)
        if policy is PullPolicy.NEVER and not known:
            for_platform = f", and there is none for {platform}" if platform else ""
            said = f"pull_policy is 'never'{for_platform}"
            raise ImageNotFoundError(reference, engine.name, said)
        if policy is PullPolicy.ALWAYS or not known:
            known = pull_image(engine, reference, platform=platform)
    return _by(config, known)


def _by(config: ContainerTestConfig, known: str) -> ContainerTestConfig:
    return config if known == config.image_reference else config.merged(image=known)


def _make(engine: Engine, reference: str) -> None:
    name, _, tag = reference[len(LOCAL_REPOSITORY) :].partition(":")
    maker = MAKERS.get(name)
    if maker is None:
        known = ", ".join(f"'{LOCAL_REPOSITORY}{x}'" for x in MAKERS)
        raise ConfigError(
            f"image: '{reference}' is neither on node '{engine.name}' nor can be made there; "
            f"what can be made is {known}"
        )
    engine.node.log.info(f"making image '{reference}' on node '{engine.name}'")
    try:
        maker(engine, reference, tag)
    except ImageNotFoundError:  # another run's sweep took it before it had its name
        maker(engine, reference, tag)
