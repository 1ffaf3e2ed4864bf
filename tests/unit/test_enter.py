"""Scripts of `lisa-container enter`: those found in a log folder, and those run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from tests.support import programs
from tests.support.programs import CLI

RUN = "20260101/20260101-000000-000"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def scripts(tmp_path: Path) -> dict[str, Path]:
    """Write scripts of two kept containers of a run; return them by the containers' names."""
    put(tmp_path / RUN / "containers/run.json", "{}")
    for case, names in {"one": ["own"], "two": ["shared"], "three": ["own", "shared", []]}.items():
        record = json.dumps({"name": case, "containers": names})
        put(tmp_path / RUN / f"tests/1-{case}/case.json", record)
    put(tmp_path / RUN / "tests/1-odd/case.json", '{"name": "two", "containers": 1}')
    found = {
        "own": tmp_path / RUN / "tests/1-one/containers/own/enter.sh",
        "shared": tmp_path / RUN / "containers/shared/enter.sh",
    }
    return {name: put(path, "#!/bin/sh\nexec cat $0 -\n") for name, path in found.items()}


def enter(log: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return programs.run(*CLI, "enter", *names, "--log", log, input="typed")


@pytest.mark.parametrize(
    ("name", "container"),
    [("own", "own"), ("shared", "shared"), ("one", "own"), ("two", "shared")],
)
def test_found(name: str, container: str, scripts: dict[str, Path], tmp_path: Path) -> None:
    """`enter` finds a case's container, and a container of the run that a case has used."""
    done = enter(tmp_path, name)
    assert (done.stdout, done.returncode) == (scripts[container].read_text() + "typed", 0), done


def test_not_found(scripts: dict[str, Path], tmp_path: Path) -> None:
    several, none = enter(tmp_path, "three"), enter(tmp_path, "four")
    assert several.returncode == none.returncode == 2
    assert "several kept containers; legal: one of shared, own" in several.stderr
    assert "Kept containers that are left: shared, own. " in none.stderr


def test_list(scripts: dict[str, Path], tmp_path: Path) -> None:
    """A container that was removed meanwhile is left out; one that cannot be asked for is marked."""
    title, *rows = enter(tmp_path).stdout.splitlines()
    assert title.split() == ["CONTAINER", "CASES", "RUN", "STATE"]
    assert [re.split("  +", row) for row in rows] == [
        ["shared", "three, two", Path(RUN).name, "kept"],
        ["own", "one, three", Path(RUN).name, "kept"],
    ]
    scripts["own"].write_text("echo 'Error: No such container: own' >&2; exit 1")
    scripts["shared"].write_text("echo 'no way there' >&2; exit 255")
    (row,) = enter(tmp_path).stdout.splitlines()[1:]
    assert row.endswith("not known: no way there")
    assert "that are left: shared (not known). " in enter(tmp_path, "four").stderr
    assert enter(tmp_path, "three").stdout == "", "the one that is left is entered"
    scripts["shared"].unlink()
    left = enter(tmp_path)
    assert left.stdout == f"no kept container of the runs in '{tmp_path}' is left\n"


def link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


@pytest.mark.parametrize(
    "spoil",
    [link, lambda path: os.link(path, path.with_name("other")), lambda path: path.chmod(0o775)],
)
def test_not_run(spoil: Callable[[Path], None], scripts: dict[str, Path], tmp_path: Path) -> None:
    """`enter` runs no script that another user may have written or replaced."""
    spoil(scripts["own"])
    done = enter(tmp_path, "own")
    assert (done.stdout, done.returncode) == ("", 2)
    assert f"'{scripts['own']}' is not run: it " in done.stderr
