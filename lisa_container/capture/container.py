"""What is recorded of one container."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa.secret import add_secret
from lisa.util.logger import Logger

from lisa_container.capture.commands import (
    CommandCapture,
    Journal,
    Meters,
    Sample,
    leave_all,
    move_all,
)
from lisa_container.capture.files import now, run_folder, write_json
from lisa_container.capture.masking import MASK, Masking, secret_values
from lisa_container.capture.records import (
    CONTAINER_FILE,
    CONTAINERS_FOLDER,
    FORMAT,
    TOOLS_FILE,
    ContainerRecord,
)


class ContainerCapture:
    """Records one container: what it is, and its commands.

    Args:
        name: of the container.
        environment: of the container, for the secrets in it.
        limit: bytes of each stream of a command that are kept.
        measure: record what each command uses.
        sample: tells what the container has used so far.
        log: for what cannot be written.
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
        secrets = secret_values(environment)
        for value in secrets:
            add_secret(value, sub=MASK)  # for LISA's logs, too
        self.masking = Masking(secrets)
        """Masks what is written for it."""
        self.limit = limit
        """Bytes of each stream of a command that are kept."""
        self.measure = measure
        """Whether what each command uses is recorded."""
        self._meters = Meters(sample)
        self._name = name
        self._log = log
        self._numbers = itertools.count(1)
        self._own: Path | None = None
        self._journal: Journal | None = None
        self._record: dict[str, Any] = {}

    @property
    def folder(self) -> Path | None:
        """Where its commands are recorded now; None: nowhere."""
        return self._journal.folder if self._journal is not None else None

    def to(self, folder: Path | None, since: float | None = None) -> None:
        """Record into another folder from now on; what runs is recorded where it began.

        Args:
            folder: None: the container's own, if there is one.
            since: from then on already (seconds since 1970), as far as nothing is written yet.
        """
        folder = folder or self._own
        if folder == self.folder:
            return
        old, new = self._journal, Journal(folder, self._log) if folder else None
        self._journal = new
        if old is not None:
            if new is not None and since is not None:
                move_all(self, new, since)
                old.hand_over(new, since)
            old.catch_up()

    def begin(
        self,
        command: str,
        argv: Sequence[str] | None,
        cwd: str,
        environment: Mapping[str, str] | None,
        user: str,
    ) -> CommandCapture | None:
        """The record of a command that is about to start; None where nothing is recorded.

        Args:
            command, argv, cwd, environment, user: see `CommandCapture`.
        """
        journal = self._journal
        if journal is None:
            return None
        meter = self._meters.begin() if self.measure else None
        return CommandCapture(
            self,
            journal,
            next(self._numbers),
            command,
            argv,
            cwd,
            environment,
            user,
            self.masking,
            self.limit,
            meter,
        )

    def started(self, **facts: Any) -> None:
        """The container has started.

        Args:
            facts: of its `ContainerRecord`, as far as they are not known here.
        """
        run = run_folder()
        if run is None:
            return
        self._own = run / CONTAINERS_FOLDER / self._name
        if self._journal is None:
            self.to(None)
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

    def tell(self, **facts: Any) -> None:
        """Something of its `ContainerRecord` is known by now, or has changed."""
        if self._record:
            self._record.update(facts)
            self._write()

    def tools(self, installed: Sequence[Mapping[str, Any]]) -> None:
        """Tools were installed in it.

        Args:
            installed: all of them.
        """
        if self._own is not None and installed:
            self._write_file(self._own / TOOLS_FILE, list(installed))

    def ended(self) -> None:
        """The container has gone."""
        self.tell(ended=now())
        leave_all(self)
        if self._journal is not None:
            self._journal.catch_up()

    def _write(self) -> None:
        assert self._own is not None
        self._write_file(self._own / CONTAINER_FILE, self._record)

    def _write_file(self, path: Path, content: Any) -> None:
        try:
            write_json(path, self.masking.anything(content))
        except OSError as error:
            self._log.warning(f"'{path}' cannot be written: {error}. The test goes on without it.")
