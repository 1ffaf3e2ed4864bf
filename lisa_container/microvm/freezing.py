"""Freezing of VMs when a case fails: all at the same moment, and within the limit of their run."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lisa_container.errors import VmError, VmSpaceError
from lisa_container.history.place import log_folder
from lisa_container.masking import Plain
from lisa_container.microvm.frozen.find import FOLDER
from lisa_container.microvm.frozen.record import FrozenVm
from lisa_container.microvm.vm import MicroVm

DEFAULT_GIB = 4
"""Most GiB that the frozen VMs of a run take, unless its runbook has another limit."""

_GIB, _MIB = 1 << 30, 1 << 20
# One VM is written at a time, so that the sum is known.
_lock = threading.Lock()


def freeze_failed(
    vms: Sequence[MicroVm],
    case: str,
    folder: Path,
    limit_gib: float,
    log: logging.Logger | logging.LoggerAdapter[Any],
) -> list[FrozenVm]:
    """Stop VMs at once, write their memory and disks, and let them go on.

    What cannot be written is a warning: the case has failed for another reason.

    Args:
        vms: running VMs of the case.
        case: name of the case.
        folder: folder of the case, in the folder `tests` of its run.
        limit_gib: most GiB that all frozen VMs of the run take.
        log: logger of the run.

    Returns:
        The frozen VMs.
    """
    frozen = []
    stopped: list[MicroVm] = []
    try:
        for vm in vms:
            try:
                if vm.is_on:
                    # Also if an exception ends the next line.
                    stopped.append(vm)
                    vm.pause()
            except VmError as error:
                log.warning(Plain(f"VM '{vm.name}' is not frozen: {error}"))
        with _lock:
            for vm in vms:
                if vm.is_running:
                    frozen += _freeze(vm, case, folder, int(limit_gib * _GIB), log)
    finally:
        for vm in stopped:
            with suppress(VmError):
                vm.resume()
    return frozen


def thaw_command(case: str) -> str:
    """Return the command line that thaws the VM of a case of the present run, from any folder.

    Args:
        case: name of the case.
    """
    log = log_folder()
    words = ["--log", str(log)] if log is not None else []
    return shlex.join(["lisa-container", "vm", "thaw", case, *words])


def _freeze(
    vm: MicroVm,
    case: str,
    folder: Path,
    limit: int,
    log: logging.Logger | logging.LoggerAdapter[Any],
) -> list[FrozenVm]:
    used = sum(file.stat().st_size for file in folder.parents[1].glob(f"tests/*/{FOLDER}/*/*"))
    what = f"VM '{vm.name}' of the failed case '{case}'"
    try:
        frozen = vm.freeze(_free_name(folder / FOLDER, vm.name), case, limit - used)
    except VmSpaceError as error:
        log.warning(
            Plain(
                f"{what} is not frozen: {error}. Frozen VMs of this run take {used // _MIB} of"
                f" {limit // _MIB} MiB (frozen_gib)"
            )
        )
        return []
    except (VmError, OSError) as error:
        log.warning(Plain(f"{what} is not frozen: {error}"))
        return []
    own = frozen.bytes_used
    log.info(
        Plain(
            f"{what} is frozen in {own // _MIB} MiB; those of this run take"
            f" {(used + own) // _MIB} of {limit // _MIB} MiB. Enter: {thaw_command(case)}"
        )
    )
    return [frozen]


def _free_name(folder: Path, name: str) -> Path:
    """Return the path of a new folder; LISA may repeat a failed case."""
    number = 1
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path
