"""Sections for the report of a failed test: commands, logs, kept containers, consoles of VMs.

They are made from the records of the test's case, which have no secrets; consoles are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lisa_container.cases.recorder import CaseRecorder
from lisa_container.container.follower import Followed
from lisa_container.escaping import plain_lines, printable
from lisa_container.history.read import RecordError, open_record, read_lines
from lisa_container.microvm.freezing import thaw_command
from lisa_container.microvm.frozen.record import FrozenVm
from lisa_container.microvm.session import VmSession
from lisa_container.pytest_plugin.kept import FROZEN, KEPT
from lisa_container.recording.records import COMMANDS_FILE, LOG_FILE

# Most commands of a container, lines of a stream or log, and characters of a line.
_COMMANDS, _LINES, _CHARACTERS = 20, 20, 500
# Bytes at the end of a log that are read.
_LOG_BYTES = 64 << 10


def sections_of(recorder: CaseRecorder, records: Path) -> list[tuple[str, str]]:
    """Return the titles and texts of the sections for a failed test.

    Args:
        recorder: Recorder of the test's case, after its evidence was taken.
        records: Folder of the case.
    """
    sections = []
    for executor in recorder.containers:
        executor.capture.catch_up()
        folder = recorder.folder_of(executor)
        name = f"container '{executor.name}' ({executor.config.image or 'built'})"
        for title, lines in (
            (f"commands in {name}", list(_commands(folder / COMMANDS_FILE))),
            (f"log of {name}", list(_log(folder / LOG_FILE))),
        ):
            if lines:
                sections.append((title, "\n".join(lines)))
    if sections:
        sections.append(("records of the test", str(records)))
    kept = [_kept(executor) for executor in recorder.containers if executor.keep]
    if kept:
        sections.append((KEPT, "\n".join(kept)))
    return sections


def vm_sections(name: str, vm: VmSession, records: Path) -> list[tuple[str, str]]:
    """Return the titles and texts of a virtual machine's sections: commands and console.

    Args:
        name: Name of the VM in the records.
        vm: VM of the failed test.
        records: Folder of the VM's commands.
    """
    vm.capture.catch_up()
    parts = (("commands in", _commands(records / COMMANDS_FILE)), ("console of", _tail(vm.console)))
    texts = ((title, "\n".join(lines)) for title, lines in parts)
    return [(f"{title} VM '{name}'", text) for title, text in texts if text]


def frozen_sections(vms: Iterable[FrozenVm]) -> list[tuple[str, str]]:
    """Return the title and text of the section about frozen virtual machines, if there are any.

    Args:
        vms: Frozen virtual machines of the failed test.
    """
    origins = (vm.origin for vm in vms)
    lines = [f"VM '{each.vm}'; thaw: {thaw_command(each.case)}" for each in origins]
    return [(FROZEN, printable("\n".join(lines), "\n"))] if lines else []


def _kept(executor: Followed) -> str:
    command = executor.enter_command
    way = f"enter: {command}" if command else "its command has ended, so it cannot be entered"
    return printable(f"container '{executor.name}'; {way}")


def _commands(file: Path) -> Iterator[str]:
    """Yield lines about the last commands in a file of records."""
    found: dict[Any, dict[str, Any]] = {}
    try:
        for record, _ in read_lines(file):
            if record is not None:
                found[record.get("n")] = record  # the last line of a command counts
    except (FileNotFoundError, RecordError):
        return
    records = list(found.values())
    if len(records) > _COMMANDS:
        yield f"({len(records) - _COMMANDS} earlier commands are in '{file}')"
    for record in records[-_COMMANDS:]:
        yield f"$ {_line(record.get('command', ''))}"
        for stream in ("stdout", "stderr"):
            yield from _stream(record.get(stream) or {}, file.parent)
        yield f"({_end(record)})"


def _stream(record: dict[str, Any], folder: Path) -> Iterator[str]:
    if "file" in record:
        yield f"({record.get('bytes')} bytes of output are in '{folder / str(record['file'])}')"
    yield from _tail(str(record.get("text", "")))


def _end(record: dict[str, Any]) -> str:
    if record.get("state") == "running":
        return "runs"
    code = record.get("exit_code")
    result = record.get("error") or ("exit code unknown" if code is None else f"exit code {code}")
    return f"{_line(result)}, {record.get('duration', 0):.3f} s"


def _log(file: Path) -> Iterator[str]:
    try:
        with open_record(file) as log:
            log.seek(max(0, log.seek(0, 2) - _LOG_BYTES))
            text = log.read(_LOG_BYTES).decode("utf-8", errors="surrogateescape")
    except (FileNotFoundError, RecordError, OSError):
        return
    yield from _tail(text)


def _tail(text: str) -> Iterator[str]:
    lines = plain_lines(text)
    if len(lines) > _LINES:
        yield f"… ({len(lines) - _LINES} lines)"
    for line in lines[-_LINES:]:
        yield _line(line)


def _line(text: object) -> str:
    escaped = printable(text)
    return escaped if len(escaped) <= _CHARACTERS else f"{escaped[:_CHARACTERS]}…"
