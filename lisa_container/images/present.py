"""What images a node has, and who may bring it one."""

from __future__ import annotations

import threading
import weakref

from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError

_locks: weakref.WeakKeyDictionary[Engine, dict[str, threading.Lock]] = weakref.WeakKeyDictionary()
_locks_lock = threading.Lock()


def image_lock(engine: Engine, reference: str) -> threading.Lock:
    """What to hold while an image is brought onto a node, so that two who want it get it once.

    Args:
        engine: of the node.
        reference: the image's name.
    """
    with _locks_lock:
        return _locks.setdefault(engine, {}).setdefault(reference, threading.Lock())


def has_image(engine: Engine, reference: str) -> bool:
    """Whether the node has an image of this name."""
    try:
        with engine.errors(image=reference):
            engine.api.inspect_image(reference)
        return True
    except ImageNotFoundError:
        return False
