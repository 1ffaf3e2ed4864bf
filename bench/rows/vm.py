"""A throw-away virtual machine.

A clone of a template is compared with a boot of the same image, kernel and hardware: two
processors and 512 MiB. Each way begins where the VM does not exist, and the outcome is checked:

- the first command over SSH, login included, which prints the host name; for a boot, the time until
  sshd answers, without a login;
- the engine's first answer to a ping, over SSH, login included;
- a reset, and the first command after it;
- a trivial command by `VmSession.run`, in a resident shell, compared with a channel of the same SSH
  connection for each command, as LISA has it;
- the memory of ten idle clones: the sum of their proportional set sizes (proc(5), smaps_rollup),
  in which a page that several processes share is divided among them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko

from bench.result import Line, Of, Target
from bench.stage import Stage
from bench.timing import Stopwatch, Way, interleave, repeated
from lisa_container.engine.ssh import open_streamlocal
from lisa_container.microvm import MicroVm, VmConfig
from lisa_container.microvm.console import Milestone
from lisa_container.microvm.session import VmSession

_ENGINE = "/run/docker.sock"
_PING = b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
_ANSWER_SECONDS = 60
# Seconds in which a VM comes to rest after its start.
_REST_SECONDS = 5.0
_COUNT = 10


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    with VmSession(MicroVm()) as vm:  # makes image and template, unless they exist
        _check_name(vm)
    rounds = stage.pick(10, 1)
    ways = {"command": _command, "engine": _engine, "boot": _boot}
    starts = interleave(ways, rounds, warm_up=False)
    with VmSession(MicroVm()) as vm:
        reset = interleave({"": _reset(vm)}, rounds)[""]
        commands = _commands(vm, stage.pick(10, 1))
    memory = _memory(stage.pick(_COUNT, 2))

    def start(what: str, phase: str, other: str, limit: float) -> Line:
        return Line(
            f"clone: {what}",
            starts[phase].median(),
            f"boot: {other}",
            starts["boot"].median(phase),
            target=Target(limit, Of.VALUE),
            samples=len(starts[phase].samples[""]),
        )

    resident, channel = commands["resident"], commands["channel"]
    return [
        start("first command over SSH", "command", "sshd answers", 1.0),
        start("the engine answers", "engine", "the engine answers", 2.5),
        Line(
            "reset, and the next command",
            reset.median(),
            target=Target(1.2, Of.VALUE),
            samples=len(reset.samples[""]),
        ),
        Line(
            "VmSession.run",
            resident.median(),
            "a channel for each command",
            channel.median(),
            samples=len(resident.samples[""]),
        ),
        Line(
            f"memory of {len(memory)} idle clones",
            sum(memory),
            unit="MiB",
            target=Target(1536, Of.VALUE),
        ),
        Line(
            "memory of one of them",
            sum(memory) / len(memory),
            unit="MiB",
            target=Target(64, Of.VALUE),
            samples=len(memory),
        ),
    ]


def _command(watch: Stopwatch) -> None:
    with contextlib.ExitStack() as stack, watch():
        _check_name(stack.enter_context(VmSession(MicroVm())))


def _engine(watch: Stopwatch) -> None:
    with contextlib.ExitStack() as stack, watch():
        _ping(stack.enter_context(MicroVm()))


def _boot(watch: Stopwatch) -> None:
    with contextlib.ExitStack() as stack:
        with watch("engine"):
            machine = stack.enter_context(MicroVm(VmConfig(is_cloned=False)))
            _ping(machine)
        watch.samples["command"].append(machine.milestones[Milestone.SSHD])


def _reset(vm: VmSession) -> Way:
    def way(watch: Stopwatch) -> None:
        with watch():
            vm.reset()
            _check_name(vm)

    return way


def _commands(vm: VmSession, rounds: int) -> dict[str, Stopwatch]:
    with _login(vm.machine) as transport:

        def channel() -> None:
            with transport.open_session() as session:
                session.exec_command("true")
                assert session.recv_exit_status() == 0

        def resident() -> None:
            assert vm.run("true").exit_code == 0

        ways = {"resident": repeated(resident, 10), "channel": repeated(channel)}
        return interleave(ways, rounds)


def _memory(count: int) -> list[float]:
    """Return the proportional set size of each of some idle clones in MiB."""
    with contextlib.ExitStack() as stack:
        vms = [
            stack.enter_context(VmSession(MicroVm(VmConfig(name=f"vm{number}"))))
            for number in range(count)
        ]
        for vm in vms:
            _check_name(vm)
        time.sleep(_REST_SECONDS)
        return [_proportional_size(vm.machine.pid) for vm in vms]


def _proportional_size(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return int(rest.split()[0]) / 1024
    raise AssertionError(f"process {pid} has no proportional set size")


def _check_name(vm: VmSession) -> None:
    assert vm.run("hostname").stdout == vm.name


def _ping(machine: MicroVm) -> None:
    with _login(machine) as transport, open_streamlocal(transport, _ENGINE) as channel:
        channel.settimeout(_ANSWER_SECONDS)
        channel.sendall(_PING)
        answer = b""
        while piece := channel.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"OK"), answer


@contextlib.contextmanager
def _login(machine: MicroVm) -> Iterator[paramiko.Transport]:
    with contextlib.closing(machine.log_in()) as transport:
        yield transport
