"""System calls that Python 3.9 does not have."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def leave_network() -> tuple[int, int]:
    """Move this process to a new, empty network namespace.

    Returns:
        File descriptors of the old and the new namespace.
    """
    old = _network()
    _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
    return old, _network()


@contextmanager
def network_of(namespace: int) -> Iterator[None]:
    """Enter another network namespace for a `with` block. Its sockets and commands belong to it.

    Args:
        namespace: file descriptor of the namespace.
    """
    previous = _network()
    try:
        _checked(_libc.setns(namespace, _CLONE_NEWNET), "setns")
        yield
    finally:
        _checked(_libc.setns(previous, _CLONE_NEWNET), "setns")
        os.close(previous)


def _network() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
