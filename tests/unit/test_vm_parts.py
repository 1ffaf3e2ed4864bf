"""Parts of virtual machines that need no QEMU: console, folders, channel, identity."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from lisa_container.errors import VmError
from lisa_container.microvm.console import Console, Milestone
from lisa_container.microvm.identity import Identity
from lisa_container.microvm.machine.accelerator import KvmFailure
from lisa_container.microvm.process.agent import Agent, AgentLostError
from lisa_container.microvm.process.folders import create_folder


def test_milestones_of_a_boot(tmp_path: Path) -> None:
    file = tmp_path / "console"
    file.write_bytes(b"Kernel panic - not syncing: of the boot before\n")
    console = Console(file)
    console.look()
    assert list(console.milestones) == [Milestone.FIRMWARE]
    assert "firmware, next would be kernel" in console.progress
    with file.open("ab") as output:
        output.write(b"[    0.000000] Linux version 6.1.0 (a@b)\r\n\x1b[2J")
    console.look()
    assert "Last milestone: kernel, next would be init (from the start: firmware 0.0 s, kernel" in (
        console.progress
    )
    assert console.find_panic() == ""
    for part in (b"[    1.0] Kernel panic - not", b" syncing: VFS: no"):
        with file.open("ab") as output:
            output.write(part)
        assert console.find_panic() == ""
    with file.open("ab") as output:
        output.write(b" root \xff\r\nmore\r\n")
    assert console.find_panic() == "VFS: no root \ufffd"
    assert not console.shows_end_of_panic()
    assert console.tail.splitlines()[-1] == "more"
    assert "\x1b" not in console.tail
    with file.open("ab") as output:
        output.write(b"---[ end Kernel panic - not syncing: VFS: no root ]---\r\n")
    assert console.shows_end_of_panic()
    assert console.find_panic() == "VFS: no root \ufffd"


def test_failure_of_kvm_is_known_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "new" / "failed"
    failure = KvmFailure(file, "7.2")
    assert not failure.is_known()
    failure.remember()
    assert failure.is_known()
    assert not KvmFailure(file, "9.0").is_known()
    # The clock may be set back, too.
    for change in (-1801, 60):
        moment = time.time() + change
        os.utime(file, (moment, moment))
        assert not failure.is_known()
    failure.remember()
    file.write_text("of another boot 7.2\n")
    assert not failure.is_known()
    KvmFailure(tmp_path / "new" / "failed" / "below a file", "7.2").remember()


def test_folder_of_a_dead_vm_is_removed(tmp_path: Path) -> None:
    living = create_folder(tmp_path / "running")
    dead = create_folder(tmp_path / "running")
    os.close(dead.lock)
    (dead.path / "disk").write_bytes(b"data")
    created = create_folder(tmp_path / "running")
    assert sorted((tmp_path / "running").iterdir()) == sorted([living.path, created.path])
    for folder in (living, created):
        folder.remove()
    assert list((tmp_path / "running").iterdir()) == []


def test_answers_of_the_channel() -> None:
    here, there = socket.socketpair()
    agent = Agent("vm0")
    agent.connect(here)
    assert not agent.is_ready(0.01)
    there.sendall(b"rea")
    assert not agent.is_ready(0.01)
    there.sendall(b"dy\r\n")
    assert agent.is_ready(1)
    agent.send("true\n.")
    assert there.recv(100) == b"true\n.\n"
    assert not agent.is_done(0.01)
    there.sendall(b"ready\ndone 0\ndone 3\n")
    assert agent.is_done(1)
    with pytest.raises(VmError, match="vm0.*failed with 3"):
        agent.is_done(1)
    there.close()
    with pytest.raises(AgentLostError):
        agent.is_done(1)
    with pytest.raises(AgentLostError):
        agent.send("true")
    # A guest that has rebooted has a new QEMU; half a line of the old one counts no more.
    here, there = socket.socketpair()
    agent.connect(here)
    there.sendall(b"rea")
    assert not agent.is_ready(0.01)
    here, there = socket.socketpair()
    agent.connect(here)
    there.sendall(b"ready\n")
    assert agent.is_ready(1)
    agent.close()
    for refused in (agent.is_ready, agent.is_done):
        with pytest.raises(AgentLostError):
            refused(1)
    there.close()


def test_identities_differ_and_are_legal_scripts() -> None:
    one, other = Identity("one"), Identity("it's")
    assert one.mac != other.mac
    assert one.machine_id != other.machine_id
    assert one.host_key.public != other.host_key.public
    assert one.host_key.private not in repr(one)
    for identity in (one, other):
        assert "\n.\n" not in identity.script()
        assert "\n" not in identity.line()
        subprocess.run(["sh", "-n"], input=identity.script(), text=True, check=True)
