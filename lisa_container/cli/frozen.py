"""`lisa-container vm frozen`, `thaw`, `core` and `discard`: virtual machines of failed cases."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lisa_container.cli.output import complain, say, say_json, say_table, show_activity
from lisa_container.errors import ConfigError, VmError, VmFrozenError
from lisa_container.history.place import run_folders
from lisa_container.microvm.frozen.core import write_core
from lisa_container.microvm.frozen.find import find_folders
from lisa_container.microvm.frozen.record import FrozenVm, read_frozen
from lisa_container.microvm.frozen.thaw import ThawedVm

_MIB = 1 << 20


@dataclass(frozen=True)
class _Found:
    """Folder of a frozen VM in that of a run."""

    run: str
    vm: FrozenVm

    @property
    def name(self) -> str:
        """Name of the VM among those of its case."""
        return self.vm.folder.name

    @property
    def case_folder(self) -> str:
        """Name of the folder of the case."""
        return self.vm.folder.parents[1].name


def list_(arguments: argparse.Namespace) -> int:
    """Print the frozen VMs; return the exit code."""
    found = _find(arguments.log)
    if arguments.json:
        say_json(
            [
                {
                    "case": each.vm.origin.case,
                    "vm": each.name,
                    "run": each.run,
                    "time": each.vm.origin.time,
                    "bytes": each.vm.bytes_used,
                    "problem": _problem(each.vm),
                    "folder": str(each.vm.folder),
                }
                for each in found
            ]
        )
        return 0
    if not found:
        say(f"no frozen VM in '{arguments.log}'")
        return 0
    rows = [
        (
            each.vm.origin.case,
            each.name,
            each.run,
            each.vm.bytes_used // _MIB,
            _problem(each.vm) or "can be thawed",
        )
        for each in found
    ]
    say_table(("case", "vm", "run", "MiB", "state"), rows)
    return 0


def thaw(arguments: argparse.Namespace) -> int:
    """Open a shell in a copy of a frozen VM, or run a command; return its exit code."""
    frozen = _choose(arguments).vm
    with ThawedVm(frozen) as vm:
        with show_activity(f"thawing '{frozen.origin.vm}'"):
            vm.go_on()
        if not arguments.script:
            complain(
                f"VM '{frozen.origin.vm}' as it was when case '{frozen.origin.case}' failed at"
                f" {frozen.origin.time}. It ends with this shell, and what you change is lost"
            )
        command = [*vm.ssh_command(), *filter(None, [arguments.script])]
        return subprocess.run(command, check=False).returncode


def core(arguments: argparse.Namespace) -> int:
    """Write the memory of a frozen VM as an ELF core; return the exit code."""
    found = _choose(arguments)
    frozen, target = found.vm, arguments.output or Path(f"{found.case_folder}.core")
    with show_activity(f"writing '{target}'"):
        version = write_core(frozen, target)
    say(f"{target}: memory of Linux {version or 'of an unknown version'}")
    if not version:
        complain(
            "the kernel has no VMCOREINFO (CONFIG_VMCORE_INFO or CONFIG_CRASH_CORE), which drgn and"
            " crash need"
        )
    return 0


def discard(arguments: argparse.Namespace) -> int:
    """Remove the frozen VMs of a case; return the exit code."""
    for each in _matching(arguments):
        shutil.rmtree(each.vm.folder)
        say(f"removed frozen VM '{each.name}' of case '{each.vm.origin.case}' of run '{each.run}'")
    return 0


def _find(log: Path) -> list[_Found]:
    """Return the frozen VMs of all runs, latest run first; complain about damaged ones."""
    found = []
    for run in reversed(run_folders(log.absolute())):
        for folder in find_folders(run):
            try:
                found.append(_Found(run.name, read_frozen(folder)))
            except VmFrozenError as error:
                complain(error)
    return found


def _problem(frozen: FrozenVm) -> str:
    """Return why a frozen VM cannot be thawed; an empty string if it can."""
    try:
        return frozen.origin.stopped or frozen.fault() or frozen.disk_fault()
    except VmError as error:  # this machine has no QEMU
        return str(error)


def _choose(arguments: argparse.Namespace) -> _Found:
    """Return the frozen VM that the arguments name.

    Raises:
        ConfigError: there is none, or there are several.
    """
    matching = _matching(arguments)
    if len(matching) > 1:
        names = ", ".join(f"{each.case_folder} --vm {each.name}" for each in matching)
        raise ConfigError(
            f"case '{arguments.case}' of run '{matching[0].run}' has several frozen VMs; give one"
            f" of them: {names}"
        )
    return matching[0]


def _matching(arguments: argparse.Namespace) -> list[_Found]:
    """Return the frozen VMs that the arguments name, all of one run.

    Raises:
        ConfigError: there is none.
    """
    found = _find(arguments.log)
    matching = [
        each
        for each in found
        if arguments.case in (each.vm.origin.case, each.case_folder)
        and each.run.startswith(arguments.run_id)
        and arguments.vm in ("", each.name)
    ]
    if not matching:
        known = [f"{each.vm.origin.case} ({each.name}, run {each.run})" for each in found]
        raise ConfigError(
            f"no such frozen VM in '{arguments.log}': case '{arguments.case}'"
            f"{f', VM {arguments.vm!r}' if arguments.vm else ''}"
            f"{f', run {arguments.run_id!r}' if arguments.run_id else ''}. Frozen VMs there:"
            f" {', '.join(known) or 'none'}. Give --log the value of lisa's --log_path if it is"
            " another folder"
        )
    return [each for each in matching if each.run == matching[0].run]
