"""The command line answers before anything slow is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from lisa_container.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
slow = {"lisa", "docker", "paramiko", "spur", "yaml", "rich"} & sys.modules.keys()
assert not slow, slow
"""


@pytest.mark.parametrize("words", ["--help", "--version", "ps --help", "completion bash"])
def test_help_imports_neither_lisa_nor_docker(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words.split()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "lisa-container" in done.stdout


def test_import_registers_everything() -> None:
    """An import registers guests, platforms and notifiers with LISA."""
    script = (
        "import lisa.node, os, sys\n"
        "import lisa_container\n"
        "from lisa import notifier\n"
        "found = {type(x).__name__ for x in notifier._notifiers}\n"
        "assert found >= {'RunListener', 'CaseStatus'}, found\n"
        "assert {'lisa_container.node', 'lisa_container.guest'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
