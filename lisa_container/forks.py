"""Resources of this process, which processes forked from it must not touch.

`os.fork()` copies the registries of resources to clean up, and `sys.exit()` in the forked process
would make `atexit` clean up what the parent still uses. So each registry and each temporary folder
remembers its process. The fork also copies SSH connections. A write to a copy would break the
parent's connection, so the forked process drops the copies and makes new connections if needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import paramiko

T = TypeVar("T")


class Owner:
    """Process that created this object."""

    def __init__(self) -> None:
        """Remember the present process."""
        self._pid = os.getpid()

    @property
    def is_parent(self) -> bool:
        """Whether the present process was forked from that process."""
        return self._pid != os.getpid()


class Belongings(Generic[T]):
    """Registry of resources that this process cleans up. It is empty in a forked process."""

    def __init__(self) -> None:
        """Begin without resources."""
        self._items: dict[int, T] = {}
        self._owner = Owner()

    def add(self, item: T) -> None:
        """Add a resource."""
        self._own()[id(item)] = item

    def discard(self, item: T) -> None:
        """Remove a resource; do nothing if it is not in the registry."""
        self._own().pop(id(item), None)

    def __contains__(self, item: object) -> bool:
        """Return whether the registry has this very object."""
        return id(item) in self._own()

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy, so that resources may be removed meanwhile."""
        return iter(list(self._own().values()))

    def _own(self) -> dict[int, T]:
        if self._owner.is_parent:
            self._owner, self._items = Owner(), {}
        return self._items


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """Create a temporary folder, which is removed at the end of the block.

    `tempfile.TemporaryDirectory` would be removed at the end of a forked process, too.

    Args:
        prefix: Beginning of the folder's name.
    """
    folder, owner = tempfile.mkdtemp(prefix=prefix), Owner()
    try:
        yield folder
    finally:
        if not owner.is_parent:
            shutil.rmtree(folder, ignore_errors=True)


# Connections at the time of a fork. Python forgets all other threads right after it.
_transports: list[Any] = []


def _find_transports() -> None:
    _transports[:] = [
        each for each in threading.enumerate() if isinstance(each, paramiko.Transport)
    ]


def _drop_transports() -> None:
    """Close the copies of the parent's connections without writing to them."""
    for transport in _transports:
        # A lock that another thread held at the fork stays locked for ever in this process.
        transport.active = False
        transport.lock = threading.Lock()
        transport._channels._lock = threading.Lock()
        transport.clear_to_send = threading.Event()
        transport.clear_to_send.set()
        for channel in transport._channels.values():
            channel.lock = threading.RLock()
            channel.closed = True
        if isinstance(transport.sock, socket.socket):
            with contextlib.suppress(OSError):
                transport.sock.close()  # the parent's descriptor stays open
    _transports.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_find_transports, after_in_parent=_transports.clear, after_in_child=_drop_transports
    )
