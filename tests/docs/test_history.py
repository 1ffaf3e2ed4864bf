"""docs/history.md: its examples and commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.docs_examples import DOCS, run_page
from tests.support.places import Place


def test_page(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("verify_good|verify_perhaps")
    place.run("verify_good|verify_perhaps", is_broken=True)
    run_page(DOCS / "history.md", log=place.log)
    commands = re.findall(
        r"^lisa-container history(.*)$", (DOCS / "history.md").read_text(), re.MULTILINE
    )
    assert len(commands) == 9
    for command in commands:
        assert place.history(*shlex.split(command, comments=True)), command
