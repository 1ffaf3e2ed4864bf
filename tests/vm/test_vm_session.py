"""Commands in a VM by resident shells over one SSH connection."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
from collections.abc import Iterator
from statistics import median

import pytest

from lisa_container.errors import (
    CommandTimeoutError,
    SshLostError,
    VmDiedError,
    VmError,
    VmPanicError,
)
from lisa_container.microvm import MicroVm, VmConfig
from lisa_container.microvm.keys import KeyPair
from lisa_container.microvm.session import VmSession
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def vm(image: object) -> Iterator[VmSession]:
    with VmSession(MicroVm()) as running:
        yield running


def test_result(vm: VmSession) -> None:
    result = vm.run("printf '\\000\\377'; printf 'err \\001' >&2; exit 3")
    assert (result.stdout_bytes, result.stderr_bytes, result.exit_code) == (b"\0\xff", b"err \1", 3)
    assert vm.run("no-such-program").exit_code == 127
    assert vm.run("kill -TERM $$").exit_code == 128 + signal.SIGTERM
    with pytest.raises(AssertionError, match="exit code"):
        vm.run("false", expected_exit_code=0)
    assert vm.run("echo $HOME $USER; tty").stdout == "/root root\nnot a tty"
    environment = vm.run("env").stdout
    assert "lisa_container" not in environment and "SHLVL=0" not in environment


def test_input_and_output(vm: VmSession) -> None:
    """Input of any size arrives, and is not waited for."""
    dice = random.Random(1)
    for size in (0, 1, 4096, 4097, 1 << 20):
        data = dice.randbytes(size)
        assert vm.run("cat", stdin=data).stdout_bytes == data
    assert vm.run("head -c 3", stdin=b"x" * (1 << 20)).stdout == "xxx"
    assert vm.run("cat").stdout == ""
    result = vm.run("yes 0123456789abcde | head -c 8M; echo end >&2")
    assert result.stdout_bytes == b"0123456789abcde\n" * (1 << 19)
    assert result.stderr == "end"


def test_time_limit(vm: VmSession) -> None:
    """All processes of a command end, also those that have left its group and session."""
    with pytest.raises(CommandTimeoutError, match="was killed") as caught:
        vm.run("echo so far; setsid sleep 1000 & (sleep 1001 & sleep 1002)", timeout=1)
    assert "so far" in str(caught.value)
    assert vm.run("pgrep -x sleep").exit_code == 1


def test_background_processes(vm: VmSession) -> None:
    begun = time.monotonic()
    assert vm.run("sleep 1000 & echo $!").left_processes
    assert time.monotonic() - begun < 100
    vm.run("pkill -x sleep", expected_exit_code=0)


def test_long_commands(vm: VmSession) -> None:
    words = "x" * 30_000
    assert vm.run(f"echo {words}").stdout == words
    with pytest.raises(VmError, match=r"longer than \d+ bytes; write it into a file"):
        vm.run(f"echo {words}{words}")
    with pytest.raises(VmError, match="has a NUL character"):
        vm.run("echo \0")


def test_several_at_once(vm: VmSession) -> None:
    """More commands than OpenSSH's default of ten sessions; each has its own streams."""
    running = [vm.spawn(f"read x; echo {number} $x; echo {number} >&2") for number in range(12)]
    assert vm.run("echo beside").stdout == "beside"
    for command in running:
        assert command.is_running and command.stdout == ""
        command.write("it\n")
    for number, command in enumerate(running):
        result = command.wait(60)
        assert (result.stdout, result.stderr, result.exit_code) == (f"{number} it", f"{number}", 0)
        assert not command.is_running


def test_connection_breaks(vm: VmSession) -> None:
    """A waiting command says so; the next one has a new connection."""
    waiting = vm.spawn("sleep 1000")
    vm.machine.run_script("pkill -KILL -f 'sshd: root'")
    with pytest.raises(SshLostError, match=r"VM 'vm0' was lost"):
        waiting.wait(60)
    assert vm.run("echo again").stdout == "again"
    vm.run("pkill -x sleep")


def test_host_key_is_checked(vm: VmSession, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(vm.machine._identity, host_key=KeyPair.make())
    monkeypatch.setattr(vm.machine, "_identity", other)
    with pytest.raises(SshLostError, match="Bad host key"):
        vm.machine.log_in()


def test_paused(vm: VmSession) -> None:
    """A command waits as long as its time limit allows, and its VM is usable afterwards."""
    waiting = vm.spawn("sleep 0.2; echo done")
    vm.machine.pause()
    time.sleep(1)
    assert waiting.is_running
    vm.machine.resume()
    assert waiting.wait(60).stdout == "done"


@pytest.mark.alone
def test_time_of_a_command(vm: VmSession) -> None:
    """A command takes a small part of what a channel of its own takes."""

    def channel() -> None:
        with vm._connect().open_session() as session:
            session.exec_command("true")
            assert session.recv_exit_status() == 0

    def seconds(call: object) -> float:
        begun = time.monotonic()
        assert callable(call)
        call()
        return time.monotonic() - begun

    vm.run("true")
    ours, theirs = (
        [seconds(each) for _ in range(10)] for each in (lambda: vm.run("true"), channel)
    )
    assert median(ours) < median(theirs) / 3, (ours, theirs)


def test_vm_dies(image: object) -> None:
    """A waiting command says why; a reset brings the VM back."""
    with VmSession(MicroVm(VmConfig(name="mortal"))) as vm:
        waiting = vm.spawn("sleep 1000")
        os.kill(vm.machine.pid, signal.SIGKILL)
        with pytest.raises(VmDiedError, match="QEMU was killed or failed"):
            waiting.wait(60)
        with pytest.raises(VmDiedError):
            vm.run("true")
        vm.reset()
        waiting = vm.spawn("sleep 1000")
        vm.run("(sleep 0.3; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
        with pytest.raises(VmPanicError, match="sysrq triggered crash"):
            waiting.wait(60)
        with pytest.raises(VmPanicError):
            vm.run("true")
        vm.reset()
        eventually(lambda: vm.run("hostname").stdout == "mortal")
