"""Locks that ensure that each image is brought onto a node only once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine


@dataclass
class _ImageLocks:
    """Locks of one engine, by the image's name."""

    locks: dict[ImageReference, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def image_lock(engine: Engine, reference: ImageReference) -> threading.Lock:
    """Return the lock to hold while an image is brought onto a node.

    Two threads that want the same image then pull, build or ship it once.
    """
    state = engine.state(_ImageLocks)
    with state.lock:
        return state.locks.setdefault(reference, threading.Lock())
