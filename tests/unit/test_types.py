"""Type checks of a user's own code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

SUITE = """
from lisa import Node, TestCaseMetadata, TestSuite
from lisa_container import ContainerExecutor, container_test

class Mine(TestSuite):
    @TestCaseMetadata(description="d")
    @container_test
    def bare(self, node: Node) -> None: ...

    @container_test("debian:12", privileged=True, memory="1g")
    @TestCaseMetadata(description="d")
    def above(self, container: ContainerExecutor) -> None: ...

    @container_test(image="debian:12")
    def alone(self, container: ContainerExecutor) -> None: ...

def use(suite: Mine, container: ContainerExecutor) -> None:
    suite.alone(container)
"""
WRONG = """
    suite.alone(5)

@container_test(image=7)
def wrong() -> None: ...
"""


def _mypy(folder: Path, source: str) -> str:
    path = folder / "suite_of_a_user.py"
    path.write_text(source, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--strict", str(path)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_container_test_keeps_the_type_of_a_case(tmp_path: Path) -> None:
    assert "Success" in _mypy(tmp_path, SUITE)


def test_wrong_use_of_container_test_is_found(tmp_path: Path) -> None:
    found = _mypy(tmp_path, SUITE + WRONG)
    assert 'Argument 1 to "alone" of "Mine" has incompatible type "int"' in found
    assert 'overload variant of "container_test" matches' in found
