"""Tiny programs that run in images without a shell."""

from __future__ import annotations

import platform
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from lisa_container.container.programs import kill_program, pause_program

HERE = platform.machine()


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    return tmp_path / "program"


def install(path: Path, program: bytes | None) -> str:
    assert program is not None, f"no program for {HERE}"
    path.write_bytes(program)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("architecture", "machine"), [("x86_64", 62), ("aarch64", 183), ("amd64", 62), ("arm64", 183)]
)
def test_headers(architecture: str, machine: int) -> None:
    for program in (pause_program(architecture), kill_program(architecture, -5, 9, "/x")):
        assert program is not None
        assert program[:5] == b"\x7fELF\x02"
        kind, e_machine = struct.unpack_from("<HH", program, 16)
        assert (kind, e_machine) == (2, machine)
        entry, phoff = struct.unpack_from("<QQ", program, 24)
        address, _, size = struct.unpack_from("<QQQ", program, phoff + 16)
        assert size == len(program)
        assert address < entry < address + size


def test_unknown_architecture() -> None:
    assert pause_program("vax") is None
    assert kill_program("vax", 1, 1, "/x") is None


def test_pause(runnable: Path) -> None:
    process = subprocess.Popen([install(runnable, pause_program(HERE))])
    time.sleep(0.3)
    assert process.poll() is None
    times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    assert times == ["0", "0"], "it sleeps"
    process.terminate()
    assert process.wait(5) == -signal.SIGTERM


def test_kill_of_a_group(runnable: Path) -> None:
    victim = subprocess.Popen("sleep 99 & sleep 99", shell=True, start_new_session=True)
    path = install(runnable, kill_program(HERE, -victim.pid, 15, str(runnable)))
    assert subprocess.run([path], check=False).returncode == 0
    assert victim.wait(5) == -signal.SIGTERM
    assert not runnable.exists(), "it removes its own file"


def test_kill_without_a_target(runnable: Path) -> None:
    path = install(runnable, kill_program(HERE, -0x3FFFFFFF, 9, str(runnable)))
    assert subprocess.run([path], check=False).returncode == 3  # ESRCH
    assert not runnable.exists()
