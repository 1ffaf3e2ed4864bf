"""Where the snapshots of the case that runs are, and whether they are being updated."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_container.capture.normalise import RuleSet
from lisa_container.errors import ConfigError

UPDATE_ENVIRONMENT = "LISA_CONTAINER_UPDATE_SNAPSHOTS"
"""The environment variable that has snapshots updated."""

UPDATE_VARIABLE = "update_snapshots"
"""The runbook variable that does so (`is_case_visible: true`)."""

_WORDS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True)
class SnapshotPlace:
    """What a suite has for its snapshots.

    Args:
        suite: the object whose case runs.
        rules: of the suite; None: the default ones.
        is_updating: the runbook says so.
    """

    suite: Any
    rules: RuleSet | None
    is_updating: bool

    @property
    def folder(self) -> Path:
        """`snapshots/<suite>`, beside the suite's file.

        Raises:
            ConfigError: the suite has no file.
        """
        suite = type(self.suite)
        try:
            file = inspect.getfile(suite)
        except (TypeError, OSError):
            raise ConfigError(
                f"suite '{suite.__name__}' is in no file that snapshots could lie beside: give "
                "assert_output_matches a folder="
            ) from None
        return Path(file).resolve().parent / "snapshots" / suite.__name__


_present: ContextVar[SnapshotPlace | None] = ContextVar("snapshots", default=None)


@contextmanager
def snapshots_of(suite: Any, variables: Mapping[str, Any]) -> Iterator[None]:
    """While a case runs, in its thread: snapshots are its suite's.

    Args:
        suite: the object whose case it is; its `output_rules` apply, if it has such.
        variables: the runbook's that cases can see.

    Raises:
        ConfigError: the variable for updating is neither true nor false.
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


def present_place() -> SnapshotPlace | None:
    """The place of the case that runs in this thread; None outside of any."""
    return _present.get()


def is_updating() -> bool:
    """Whether snapshots are to be updated.

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
