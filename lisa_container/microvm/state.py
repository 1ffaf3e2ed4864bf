"""State of a VM in a file: that of its devices, and its memory unless that is a file already."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lisa_container.errors import VmError, VmSpaceError
from lisa_container.microvm.guest import Guest

_POLL_SECONDS = 0.02
_CANCEL_SECONDS = 10.0
_MIB = 1 << 20
_UNLIMITED = 1 << 40


def save_state(
    guest: Guest, file: Path, with_memory: bool, seconds: float, limit: int | None = None
) -> None:
    """Write the state of a guest whose processors are stopped. `cont` lets it go on afterwards.

    Args:
        guest: the guest.
        file: file to write; one that exists keeps its mode.
        with_memory: whether memory that is no shared file is a part of the state.
        seconds: time limit.
        limit: most bytes to write; None means no limit.

    Raises:
        VmSpaceError: the state has more bytes.
        VmError: QEMU does not write it.
    """
    _set_capabilities(guest, with_memory)
    if with_memory:
        # By default QEMU leaves room for others on a network: 128 MiB per second.
        guest.monitor("migrate-set-parameters", max_bandwidth=_UNLIMITED)
    guest.monitor("migrate", uri=f"exec:cat >{shlex.quote(str(file))}")

    def check() -> None:
        if limit is not None and file.stat().st_size > limit:
            raise VmSpaceError(f"its memory takes more than the {limit // _MIB} MiB that are left")

    try:
        _wait(guest, ("completed",), seconds, check)
    except BaseException:
        # QEMU has ended, or gives up; the guest can go on only after that.
        with suppress(VmError):
            guest.monitor("migrate_cancel")
            _wait(guest, ("cancelled", "failed", "completed"), _CANCEL_SECONDS)
        raise


def load_state(guest: Guest, file: Path, with_memory: bool, seconds: float) -> None:
    """Load a state into a QEMU that waits for it.

    Args:
        guest: guest whose hardware waits for a state, and is that of the saved one.
        file: the state.
        with_memory: whether memory is a part of the state.
        seconds: time limit.

    Raises:
        VmError: QEMU does not take it.
    """
    _set_capabilities(guest, with_memory)
    guest.monitor("migrate-incoming", uri=f"exec:cat {shlex.quote(str(file))}")
    _wait(guest, ("completed",), seconds)


def _set_capabilities(guest: Guest, with_memory: bool) -> None:
    ignored = {"capability": "x-ignore-shared", "state": not with_memory}
    guest.monitor("migrate-set-capabilities", capabilities=[ignored])


def _wait(
    guest: Guest, states: Sequence[str], seconds: float, check: Callable[[], None] | None = None
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = guest.monitor("query-migrate")
        if found.get("status") in states:
            return
        if found.get("status") == "failed":
            raise VmError(f"QEMU did not save or load its state: {found.get('error-desc', '')}")
        if check is not None:
            check()
        if time.monotonic() > deadline:
            raise VmError(f"QEMU did not save or load its state in {seconds:g} s")
        time.sleep(_POLL_SECONDS)
