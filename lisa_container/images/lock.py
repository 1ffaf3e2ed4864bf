"""Who may bring an image onto a node."""

from __future__ import annotations

import threading
import weakref

from lisa_container.engine.client import Engine

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
