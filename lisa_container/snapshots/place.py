"""Snapshot folder of the running case, and whether its snapshots are to be updated."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        suite: suite object whose case runs.
        rules: rules of the suite; None means the default rules.
        is_updating: whether the runbook asks to update snapshots.
    """

    suite: Any
    rules: RuleSet | None
    is_updating: bool

    @property
    def folder(self) -> Path:
        """Folder `snapshots/<suite>` beside the suite's file.

        Raises:
            ConfigError: the suite has no file.
        """
        suite = type(self.suite)
        try:
            file = inspect.getfile(suite)
        except (TypeError, OSError):
            raise ConfigError(
                f"suite '{suite.__name__}' has no file beside which snapshots could be: give "
                "assert_output_matches a folder="
            ) from None
        return Path(file).resolve().parent / "snapshots" / suite.__name__


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
    place = SnapshotPlace(
        suite,
        getattr(suite, "output_rules", None),
        _switch(f"variable '{UPDATE_VARIABLE}'", variables.get(UPDATE_VARIABLE, "")),
    )
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
