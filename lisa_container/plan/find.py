"""Find and load the plan files that a runbook's variable names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lisa_container.config import checks
from lisa_container.errors import ConfigError, PlanError
from lisa_container.plan.load import load_plan
from lisa_container.plan.model import Plan

_LEGAL = "paths or patterns of plans' files: a list, or separated by commas"


def find_plans(given: Any, folders: Sequence[Path]) -> list[Path]:
    """Return the files that paths and patterns name, in order and without repetition.

    Args:
        given: a list of paths and patterns, or a string with commas between them.
        folders: where relative paths are looked up; the first folder with a match is used.

    Raises:
        ConfigError: nothing is given, or a path or pattern matches no file.
    """
    words = given.split(",") if isinstance(given, str) else given
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise checks.illegal("plans", given, _LEGAL)
    names = [word.strip() for word in words if word.strip()]
    if not names:
        raise checks.illegal("plans", given, _LEGAL)
    result: dict[Path, None] = {}
    for name in names:
        result.update(dict.fromkeys(_find_matches(name, folders)))
    return list(result)


def load_plans(paths: Iterable[Path]) -> list[Plan]:
    """Read all plans before the first one runs.

    Raises:
        PlanError: one plan has mistakes; the message lists them.
        ConfigError: several plans have mistakes, or two plans have the same name.
    """
    plans: dict[str, tuple[Plan, Path]] = {}
    errors: list[PlanError] = []
    for path in paths:
        try:
            plan = load_plan(path)
        except PlanError as error:
            errors.append(error)
            continue
        if plan.name in plans:
            raise ConfigError(
                f"plans '{plans[plan.name][1]}' and '{path}' have the same name '{plan.name}'; "
                "legal: a different name for each plan (the field 'name')"
            )
        plans[plan.name] = plan, path
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError("\n".join(str(error) for error in errors))
    return [plan for plan, _ in plans.values()]


def _find_matches(name: str, folders: Sequence[Path]) -> list[Path]:
    for folder in folders:
        # An absolute path replaces the folder.
        pattern = folder / Path(name).expanduser()
        matches = sorted(
            path
            for path in Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
            if path.is_file()
        )
        if matches:
            return matches
    existing = sorted({path.name for folder in folders for path in folder.glob("*.yml")})
    places = ", ".join(f"'{folder}'" for folder in folders)
    raise checks.illegal("plans", name, f"a file, from {places}", checks.nearest(name, existing))
