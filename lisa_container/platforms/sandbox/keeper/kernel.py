"""The few system calls that Python 3.9 has no name for."""

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
    """Let the kernel kill this process when the thread that started it ends, however it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def leave_network() -> tuple[int, int]:
    """Move this process to a new, empty network namespace.

    Returns:
        Descriptors of the namespace left and of the new one.
    """
    left = _network()
    _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
    return left, _network()


@contextmanager
def network_of(namespace: int) -> Iterator[None]:
    """Be in another network namespace for a moment; sockets and commands started here belong to it.

    Args:
        namespace: a descriptor of it.
    """
    here = _network()
    try:
        _checked(_libc.setns(namespace, _CLONE_NEWNET), "setns")
        yield
    finally:
        _checked(_libc.setns(here, _CLONE_NEWNET), "setns")
        os.close(here)


def _network() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
