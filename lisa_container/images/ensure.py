"""The image of a config, on the node: there already, pulled, or made on the spot."""

from __future__ import annotations

import threading
import weakref
from typing import Callable, TypeVar

from lisa_container.config import LOCAL_REPOSITORY, ContainerTestConfig, PullPolicy
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, ImageNotFoundError
from lisa_container.images.local import MAKERS
from lisa_container.images.present import has_image, image_lock
from lisa_container.images.pull import pull_image

# Names of images that were seen on the node.
_seen: weakref.WeakKeyDictionary[Engine, set[str]] = weakref.WeakKeyDictionary()
_seen_lock = threading.Lock()

T = TypeVar("T")


def with_image(engine: Engine, config: ContainerTestConfig, work: Callable[[], T]) -> T:
    """Do something that needs the config's image; it is looked for only once for each engine.

    An image that somebody removed since is fetched anew, and the work is done again.

    Args:
        engine: of the node.
        config: names the image and the policy.
        work: raises ImageNotFoundError, having done nothing, where the image is not there.

    Raises:
        ImageNotFoundError, ConfigError, EngineError: see `ensure_image`; or what the work raises.
    """
    reference = config.image_reference
    with _seen_lock:
        seen = _seen.setdefault(engine, set())
        is_seen = reference in seen and config.pull_policy is not PullPolicy.ALWAYS
    if is_seen:
        try:
            return work()
        except ImageNotFoundError:
            engine.node.log.debug(f"image '{reference}' is not on node '{engine.name}' any more")
    ensure_image(engine, config)
    with _seen_lock:
        seen.add(reference)
    return work()


def ensure_image(engine: Engine, config: ContainerTestConfig) -> None:
    """Bring the config's image onto the node, as its pull policy says.

    Args:
        engine: of the node.
        config: names the image and the policy.

    Raises:
        ImageNotFoundError: it is not there and could not be pulled, or may not be.
        ConfigError: an image of ours that we do not know how to make.
        EngineError: making it failed.
    """
    reference = config.image_reference
    with image_lock(engine, reference):
        present = has_image(engine, reference)
        if config.is_local_image:
            if not present:
                _make(engine, reference)
        elif config.pull_policy is PullPolicy.ALWAYS:
            pull_image(engine, reference)
        elif not present:
            if config.pull_policy is PullPolicy.NEVER:
                raise ImageNotFoundError(reference, engine.name, "pull_policy is 'never'")
            pull_image(engine, reference)


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
