"""Checkpoint of a VM: its memory and disks after the boot, to which it can return."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lisa_container.errors import VmError
from lisa_container.microvm.disks import create_disk
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.machine.boot import UefiBoot
from lisa_container.microvm.machine.command_line import Hardware
from lisa_container.microvm.state import load_state, save_state

_STATE, _VARIABLES = "checkpoint.state", "checkpoint.variables"
# QEMU's command; the layer has QEMU's own format.
_ADD_LAYER = "blockdev-snapshot-sync"
# Seconds at full speed for QEMU to write or read the memory, and for a script in the guest.
_MEMORY_SECONDS, _SCRIPT_SECONDS = 60.0, 15.0


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint, in the folder of its VM. What the VM wrote since is in layers of its disks.

    Attributes:
        guest: the VM.
        hardware: its hardware: the disks are these layers.
        disks: the disks below them, which nothing changes.
        taken_at: time of this machine at the checkpoint, in seconds since 1970.
    """

    guest: Guest
    hardware: Hardware
    disks: Sequence[Path]
    taken_at: float

    @classmethod
    def take(cls, guest: Guest) -> Checkpoint:
        """Write the memory of a VM, put a layer on each of its disks, and let it go on.

        Args:
            guest: the VM. It must have no shares.

        Raises:
            VmDiedError: its QEMU has ended.
            VmError: QEMU did not write it; the VM goes on without a checkpoint.
        """
        # Held against a reboot by the guest itself.
        with guest.process.lock:
            hardware = guest.hardware
            assert isinstance(hardware, Hardware), "a thawed copy has no checkpoints"
            disks = list(hardware.drives.values())
            first, *others = (disk.with_name(f"layer-{disk.name}") for disk in disks)
            layered = replace(hardware, disk=first, data_disks=tuple(others))
            guest.monitor("stop")
            checkpoint = cls(guest, layered, disks, time.time())
            try:
                checkpoint._save()
            except BaseException:
                checkpoint._state.unlink(missing_ok=True)
                raise
            finally:
                guest.monitor("cont")
        return checkpoint

    def restore(self) -> None:
        """Bring the VM back, with the present time. Its connections break, its port stays.

        Raises:
            VmDiedError: its QEMU has ended.
            VmError: QEMU does not take the state.
        """
        guest, patience = self.guest, self.hardware.accelerator.patience
        with guest.process.lock:
            port = guest.find_port()
            try:
                self._replace_files()
            except OSError as error:
                raise VmError(f"a file of the VM cannot be written: {error}") from error
            guest.console.begin()
            guest.restart(replace(self.hardware, port=port, is_incoming=True))
            load_state(guest, self._state, with_memory=True, seconds=_MEMORY_SECONDS * patience)
            guest.monitor("cont")
            script = _renew_script(time.time() - self.taken_at)
        deadline = time.monotonic() + _SCRIPT_SECONDS * patience
        guest.wait_sshd(port, deadline)
        guest.run(script, "set its clock", deadline)

    def _save(self) -> None:
        actions = [
            {"type": _ADD_LAYER, "data": {"device": drive, "snapshot-file": str(layer)}}
            for drive, layer in self.hardware.drives.items()
        ]
        self.guest.monitor("transaction", actions=actions)
        # If the guest boots again, it has to find what it has written.
        self.guest.hardware = self.hardware
        if variables := self._variables:
            shutil.copyfile(variables, variables.with_name(_VARIABLES))
        seconds = _MEMORY_SECONDS * self.hardware.accelerator.patience
        try:
            self._state.touch(mode=0o600)
            save_state(self.guest, self._state, with_memory=True, seconds=seconds)
        except OSError as error:
            raise VmError(f"its memory cannot be written: {error}") from error

    def _replace_files(self) -> None:
        """Make the files anew that the VM changes. The present QEMU keeps the old ones."""
        for layer, disk in zip(self.hardware.drives.values(), self.disks):
            layer.unlink()
            create_disk(layer, disk, "qcow2")
        if variables := self._variables:
            variables.unlink()
            shutil.copyfile(variables.with_name(_VARIABLES), variables)

    @property
    def _state(self) -> Path:
        return self.hardware.disk.with_name(_STATE)

    @property
    def _variables(self) -> Path | None:
        boot = self.hardware.boot
        return boot.variables if isinstance(boot, UefiBoot) else None


def _renew_script(seconds: float) -> str:
    """Return a script that puts the clock forward, and adds to the state of the random numbers."""
    return f"""\
set -e
now=$(date +%s%N)
case $now in *[!0-9]*) now=$(date +%s)000000000 ;; esac
now=$((now + {int(seconds * 1e9)}))
date -u -s "@$((now / 1000000000)).$(printf %09d $((now % 1000000000)))" >/dev/null
echo {secrets.token_hex(32)} >/dev/urandom
"""
