"""Recorder of one container."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa.util.logger import Logger

from lisa_container.masking import Masking, protect, secret_values
from lisa_container.recording.commands import (
    CommandCapture,
    CommandDescription,
    Journal,
    Meters,
    Sample,
    leave_all,
)
from lisa_container.recording.files import now, run_folder, write_json
from lisa_container.recording.records import (
    CONTAINER_FILE,
    CONTAINERS_FOLDER,
    FORMAT,
    TOOLS_FILE,
    ContainerRecord,
)
from lisa_container.recording.trouble import report_unwritten


class ContainerCapture:
    """Recorder of one container and its commands.

    Args:
        name: name of the container.
        environment: environment of the container, whose secrets are masked.
        limit: maximum number of bytes that are kept of each stream of a command.
        measure: whether to record the resources that each command uses.
        sample: returns the resources that the container has used so far.
        log: logger for warnings about records that cannot be written.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        limit: int,
        measure: bool,
        sample: Callable[[], Sample | None],
        log: Logger,
    ) -> None:
        """Record nothing until `record_start` or `record_to` names a folder."""
        self.masking = Masking(protect(secret_values(environment)))
        """Masking of all records of the container."""
        self.limit = limit
        """Maximum number of bytes that are kept of each stream of a command."""
        self.measure = measure
        """Whether the resources of each command are recorded."""
        self.find_case: Callable[[], None] | None = None
        """Function to call before a command that no case has; it may call `record_to`."""
        self._meters = Meters(sample)
        self._name = name
        self._log = log
        self._numbers = itertools.count(1)
        self._own: Path | None = None
        self._journal: Journal | None = None
        self._record: dict[str, Any] = {}

    @property
    def folder(self) -> Path | None:
        """Folder where commands are recorded now; None: nowhere."""
        return self._journal.folder if self._journal is not None else None

    @property
    def own_folder(self) -> Path | None:
        """The container's folder in the run's; None until it has started in a run."""
        return self._own

    def record_to(self, folder: Path | None) -> None:
        """Record into another folder from now on; running commands stay where they began.

        Args:
            folder: the folder; None: the container's own, if it has one.
        """
        folder = folder or self._own
        if folder == self.folder:
            return
        old, self._journal = self._journal, Journal(folder, self._log) if folder else None
        if old is not None:
            old.catch_up()

    def begin_command(self, command: CommandDescription) -> CommandCapture | None:
        """Return the record of a command that is about to start; None if nothing is recorded."""
        if self.find_case is not None and self.folder == self._own:
            self.find_case()
        journal = self._journal
        if journal is None:
            return None
        meter = self._meters.begin() if self.measure else None
        number = next(self._numbers)
        return CommandCapture(self, journal, number, command, self.masking, self.limit, meter)

    def record_start(self, **facts: Any) -> None:
        """Record the start of the container.

        Args:
            facts: fields of its `ContainerRecord` that this recorder does not know.
        """
        run = run_folder()
        if run is None:
            return
        self._own = run / CONTAINERS_FOLDER / self._name
        if self._journal is None:
            self.record_to(None)
        record: ContainerRecord = {
            "format": FORMAT,
            "name": self._name,
            "suite": "",
            "case": "",
            "started": now(),
            "ended": "",
            "exit_code": None,
            "oom_killed": None,
            **facts,  # type: ignore[typeddict-item]
        }
        self._record = dict(record)
        self._write()

    def update(self, **facts: Any) -> None:
        """Update the container's `ContainerRecord`.

        Args:
            facts: fields with their new values.
        """
        if self._record:
            self._record.update(facts)
            self._write()

    def record_tools(self, installed: Sequence[Mapping[str, Any]]) -> None:
        """Record the installed tools.

        Args:
            installed: all tools of the container.
        """
        if self._own is not None and installed:
            self._write_file(self._own / TOOLS_FILE, list(installed))

    def catch_up(self) -> None:
        """Write the commands that have ended, so that their records can be read now."""
        if self._journal is not None:
            self._journal.catch_up()

    def record_end(self) -> None:
        """Record the removal of the container."""
        self.update(ended=now())
        leave_all(self)
        self.catch_up()

    def _write(self) -> None:
        assert self._own is not None
        self._write_file(self._own / CONTAINER_FILE, self._record)

    def _write_file(self, path: Path, content: Any) -> None:
        try:
            write_json(path, self.masking.anything(content))
        except OSError as error:
            report_unwritten(self._log, f"'{path.name}'", path.parent, error)
