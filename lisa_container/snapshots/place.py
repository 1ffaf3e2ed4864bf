"""Snapshot folder of the running case, and whether its snapshots are to be updated."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_container.errors import ConfigError
from lisa_container.snapshots.normalise import RuleSet

UPDATE_ENVIRONMENT = "LISA_CONTAINER_UPDATE_SNAPSHOTS"
"""Environment variable that makes snapshots be updated."""

UPDATE_VARIABLE = "update_snapshots"
"""Runbook variable that makes snapshots be updated (`is_case_visible: true`)."""

_WORDS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True)
class SnapshotPlace:
    """Settings of a suite for its snapshots.

    Args:
        name: name of the suite.
        file: file of the suite; None if it has none.
        rules: rules of the suite; None means the default rules.
        is_updating: whether the runbook asks to update snapshots.
    """

    name: str
    file: Path | None
    rules: RuleSet | None
    is_updating: bool

    @property
    def folder(self) -> Path:
        """Folder `snapshots/<suite>` beside the suite's file.

        Raises:
            ConfigError: the suite has no file.
        """
        if self.file is None:
            raise ConfigError(
                f"suite '{self.name}' has no file beside which snapshots could be: give "
                "assert_output_matches a folder="
            )
        return self.file.resolve().parent / "snapshots" / self.name


_present: ContextVar[SnapshotPlace | None] = ContextVar("snapshots", default=None)


@contextmanager
def snapshots_of(suite: Any, variables: Mapping[str, Any]) -> Iterator[None]:
    """Use a suite's snapshots in this thread, for a `with` block around a case.

    Args:
        suite: suite object of the case. Its `output_rules` apply, if it has them.
        variables: the runbook's variables that cases can see.

    Raises:
        ConfigError: the variable `update_snapshots` is neither true nor false.
    """
    kind = type(suite)
    try:
        file = Path(inspect.getfile(kind))
    except (TypeError, OSError):
        file = None
    rules = getattr(suite, "output_rules", None)
    is_updating = _switch(f"variable '{UPDATE_VARIABLE}'", variables.get(UPDATE_VARIABLE, ""))
    with _use(SnapshotPlace(kind.__name__, file, rules, is_updating)):
        yield


def snapshots_beside(file: Path) -> AbstractContextManager[None]:
    """Use the snapshots of a file with tests in this thread, for a `with` block around a test.

    Args:
        file: the file; the snapshots are in `snapshots/<its name without .py>` beside it.
    """
    return _use(SnapshotPlace(file.stem, file, None, False))


@contextmanager
def _use(place: SnapshotPlace) -> Iterator[None]:
    token = _present.set(place)
    try:
        yield
    finally:
        _present.reset(token)


def current_place() -> SnapshotPlace | None:
    """Return the settings of the case in this thread, or None outside of a case."""
    return _present.get()


def is_updating() -> bool:
    """Return whether snapshots are to be updated.

    Raises:
        ConfigError: the environment variable is neither true nor false.
    """
    place = _present.get()
    by_environment = _switch(
        f"environment variable {UPDATE_ENVIRONMENT}", os.environ.get(UPDATE_ENVIRONMENT, "")
    )
    return by_environment or (place is not None and place.is_updating)


def _switch(what: str, value: Any) -> bool:
    try:
        return _WORDS[str(value).strip().lower()]
    except KeyError:
        raise ConfigError(f"{what}: given {value!r}; legal: true or false") from None
