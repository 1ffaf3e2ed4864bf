"""Faults in containers: each bites, each is gone afterwards, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ConfigError, ContainerExecutor, ContainerTestConfig
from lisa_container.chaos import (
    CpuStress,
    DiskFull,
    FailureInjector,
    Fault,
    Kill,
    MemoryPressure,
    NetworkFault,
    Partition,
    Pause,
    Remove,
    Restart,
    Select,
    Stop,
    Target,
)
from lisa_container.chaos.fault import Figures
from lisa_container.errors import FaultError, NoBiteError, NoTargetError
from lisa_container.fleet import Fleet
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.leftovers import stored_faults
from tests.support.nodes import BUSYBOX, add_user, connect
from tests.support.programs import Program
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]
MIB = 1 << 20
WEB = ContainerTestConfig(
    image=BUSYBOX,
    command=["sh", "-c", "exec httpd -f -p 80 -h /etc"],
    init="engine",
    ready={"http": 80, "status": 404},
)


def state(machine: SandboxNode, container: str) -> str:
    """Return the engine's word for the state of a container."""
    format = "{{.State.Status}}"
    return machine.run(["docker", "inspect", "-f", format, container]).stdout.strip()


def rules(machine: SandboxNode, container: ContainerExecutor) -> str:
    """Return the packet filter in a container's network, with the tool of the node."""
    pid = container.inspect()["State"]["Pid"]
    return machine.run(f"nsenter -t {pid} -n iptables -w -S").stdout


def test_kill(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    box = fresh()
    with FailureInjector(node) as chaos:
        (injected,) = chaos.inject(Kill(), box)
        assert state(machine, box.name) == "exited" and injected.seconds < 5
        assert chaos.active == []
        with pytest.raises(NoTargetError, match=box.name):
            chaos.inject(Kill(), box.name)
        with pytest.raises(FaultError, match="does not run"):
            chaos.inject(Kill(), box)


def test_kill_without_effect(node: Node, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that the process ignores is no fault."""
    monkeypatch.setattr(Kill, "bite_seconds", 1.0)
    box = fresh(command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    with pytest.raises(NoBiteError, match="has no effect: container .* still runs"):
        FailureInjector(node).inject(Kill(signal="SIGTERM"), box)


def test_stop(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    box = fresh()
    with FailureInjector(node) as chaos:
        chaos.inject(Stop(), box.name)
        assert state(machine, box.name) == "exited" and stored_faults(machine)
    assert state(machine, box.name) == "running" and not stored_faults(machine)
    assert box.run("echo again").stdout == "again"


def test_pause(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    box = fresh()
    ticking = box.run_async("while :; do cut -d' ' -f1 /proc/uptime; sleep 0.1; done")
    with FailureInjector(node) as chaos:
        (injected,) = chaos.inject(Pause(), box)
        assert state(machine, box.name) == "paused"
        time.sleep(2)
        chaos.stop(injected)
        chaos.stop(injected)  # it is over
    assert state(machine, box.name) == "running"
    time.sleep(0.5)
    ticking.kill()
    times = [float(line) for line in ticking.wait().stdout.splitlines()]
    assert max(late - early for early, late in zip(times, times[1:])) > 1.8


def test_restart_and_remove(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    box, other = fresh(), fresh()
    before = box.inspect()["State"]["StartedAt"]
    with FailureInjector(node) as chaos:
        chaos.inject(Restart(), box)
        assert box.inspect()["State"]["StartedAt"] != before
        chaos.inject(Remove(), other)
        assert other.name not in machine.run("docker ps -a").stdout
    assert state(machine, box.name) == "running" and not stored_faults(machine)


def test_partition(node: Node, machine: SandboxNode) -> None:
    """One member is cut off from another one, then from everything; rules of others stay."""
    ask = "timeout 20 wget -q -O - http://web-{}/passwd | grep -c root"
    try_ask = ask.replace("20", "2")
    with Fleet(node, WEB, 3, "web") as fleet, FailureInjector(node) as chaos:
        one, two, three = fleet
        pid = one.inspect()["State"]["Pid"]
        machine.run(f"nsenter -t {pid} -n iptables -A INPUT -s 192.0.2.1 -j DROP")
        before = rules(machine, one)
        chaos.inject(Partition(peer=two.name), one)
        assert one.run(try_ask.format(2)).stdout == two.run(try_ask.format(1)).stdout == "0"
        assert one.run(ask.format(3)).stdout == "1" and three.run(ask.format(1)).stdout == "1"
        chaos.stop_all()
        assert rules(machine, one) == before and one.run(ask.format(2)).stdout == "1"
        # Two of a kind may end in any order.
        chaos.inject(Partition(peer=two.name), one)
        chaos.inject(Partition(peer=three.name), one)
        first, second = chaos.active
        chaos.stop(first)
        assert one.run(ask.format(2)).stdout == "1" and one.run(try_ask.format(3)).stdout == "0"
        chaos.stop(second)
        assert rules(machine, one) == before
        chaos.inject(Partition(), one)
        assert three.run(try_ask.format(1)).stdout == "0" and three.run(ask.format(2)).stdout == "1"
    assert not stored_faults(machine)


@pytest.mark.parametrize("what", ["restart", "replace"])
def test_target_changes(what: str, node: Node, machine: SandboxNode) -> None:
    """The end succeeds when the target was restarted, or replaced by another of its name."""
    with Fleet(node, WEB, 2, "web") as fleet, FailureInjector(node) as chaos:
        chaos.inject(Partition(), fleet["web-1"])
        chaos.inject(CpuStress(), fleet["web-1"])
        if what == "restart":
            fleet["web-1"].restart()
        else:
            machine.run(["docker", "rm", "-f", fleet["web-1"].name])
            fleet.replace_dead()
        assert "LISA" not in rules(machine, fleet["web-1"])
        chaos.stop_all()
        assert not stored_faults(machine)
        assert fleet["web-2"].run("wget -q -O - http://web-1/passwd | grep -c root").stdout == "1"


def test_cpu(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """The workers count towards the container's limit, which throttles its own command."""
    box = fresh(cpus=0.5)
    with FailureInjector(node) as chaos:
        chaos.inject(CpuStress(workers=4), box)
        eventually(lambda: (box.run(THROTTLED).stdout or "0") > "0")
        assert len(stored_faults(machine).split()) >= 4
    assert not stored_faults(machine)


# Seconds or nanoseconds of throttling, by the container's own cgroup.
THROTTLED = "sed -n 's/^throttled_[a-z]* //p' /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat"


def test_memory(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """Memory is taken below the limit, where all goes on; past it, the kernel kills."""
    box = fresh(memory="128m")
    with FailureInjector(node) as chaos:
        chaos.inject(MemoryPressure(size="64m"), box)
        assert box.run("head -c 100m /dev/zero | tail >/dev/null").oom_killed
    assert not stored_faults(machine)
    assert box.run("head -c 64m /dev/zero | tail | wc -c").stdout == str(64 * MIB)
    with FailureInjector(node) as chaos:
        chaos.inject(MemoryPressure(size="1g"), box)
    assert not stored_faults(machine)


def test_disk(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    box = fresh(tmpfs={"/data": "size=16m"})
    before = box.run("df -k /data | tail -n 1").stdout
    with FailureInjector(node) as chaos:
        chaos.inject(DiskFull(path="/data"), box)
        full = box.run("head -c 1m /dev/zero | cat >/data/file")
        assert full.exit_code != 0 and "No space left on device" in full.stderr
        assert box.run("rm -f /data/file; ls -A /data").stdout == ""
    assert box.run("df -k /data | tail -n 1").stdout == before
    with FailureInjector(node) as chaos:
        chaos.inject(DiskFull(path="/data", free=4 * MIB), box)
        assert box.run("head -c 3m /dev/zero >/data/file").exit_code == 0
        assert box.run("head -c 8m /dev/zero >/data/file").exit_code != 0
        with pytest.raises(FaultError, match="a command on the node failed"):
            chaos.inject(DiskFull(path="/missing"), box)


def test_end_that_has_to_wait(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """A fault that cannot end while another one lasts ends after that."""
    with FailureInjector(node) as chaos:
        box = fresh()
        (stress,) = chaos.inject(CpuStress(), box)
        chaos.inject(Pause(), box)
        with contextlib.suppress(FaultError):  # cgroup version 1 does not kill what is frozen
            chaos.stop(stress)
    assert not stored_faults(machine)


def test_duration(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """A fault ends by itself after its time."""
    box = fresh()
    with FailureInjector(node) as chaos:
        chaos.inject(Pause(duration=1), box)
        assert state(machine, box.name) == "paused"
        eventually(lambda: not chaos.active and state(machine, box.name) == "running", 10)
        assert not stored_faults(machine)


KILLED = """
import time
from tests.support.nodes import connect
from pathlib import Path
from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.chaos import *
node = connect({address!r}, {user!r}, key=Path({key!r}))
docker = ContainerExecutor(node, ContainerTestConfig(image="lisa_container/busybox")).start()
chaos = FailureInjector(node)
for name in ("first", "second"):
    chaos.inject(Partition() if name == "first" else Pause(), name)
chaos.inject(CpuStress(), "first")
Path("ready").touch()
time.sleep(1000)
"""


def test_killed_runner(node: Node, machine: SandboxNode, fresh: Fresh, tmp_path: Path) -> None:
    """After SIGKILL of the runner, its lease ends its faults in another run's containers."""
    boxes = [
        ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX), x) for x in ("first", "second")
    ]
    first, second = boxes
    try:
        for box in boxes:
            box.start()
        before = rules(machine, first)
        code = KILLED.format(
            address=machine.address, user=machine.username, key=str(machine.private_key_file)
        )
        runner = Program(
            "-c",
            f"import os, sys; sys.path.insert(0, {str(Path.cwd())!r})\n{code}",
            folder=tmp_path,
            environment={"LISA_CONTAINER_LEASE_TTL": "8"},
        )
        eventually(lambda: (tmp_path / "ready").exists() or runner.poll() is not None, 120)
        assert state(machine, "second") == "paused" and rules(machine, first) != before
        assert stored_faults(machine)
        runner.kill()
        eventually(lambda: not stored_faults(machine), 60)
        assert state(machine, "second") == "running" and rules(machine, first) == before
        assert second.run("echo alive").stdout == "alive"
    finally:
        for box in boxes:
            box.stop()


def test_network_needs_the_kernel(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """The kernel's option is named before anything begins, where the kernel lacks it."""
    has_netem = machine.run("unshare -n tc qdisc add dev lo root netem delay 1ms", check=False)
    fault, box = NetworkFault(delay=0.2), fresh()
    if has_netem.returncode == 0:
        with FailureInjector(node) as chaos:
            chaos.inject(fault, box)
    else:
        with pytest.raises(FaultError, match=r"lacks netem, CONFIG_NET_SCH_NETEM \(the module"):
            FailureInjector(node).inject(fault, box)
    assert not stored_faults(machine)
    with pytest.raises(FaultError, match="has no network of its own"):
        FailureInjector(node).inject(fault, fresh(network_mode="none"))


@dataclass(frozen=True)
class Harmless(Fault):
    """Fault that does nothing, to see that an injector notices."""

    kind = "harmless"
    bite_seconds = 0.5
    changes: bool = False

    def undo(self, target: Target, id: str) -> str:
        return "touch /tmp/ended" if not self.changes else ":"

    def strike(self, target: Target, id: str) -> None:
        pass

    def state(self, target: Target) -> str | None:
        return str(time.monotonic()) if self.changes else None

    def missing(self, target: Target, before: Figures) -> str:
        return "" if self.changes else "nothing happens"


def test_no_bite(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """A fault without an effect is an error, and is ended."""
    with pytest.raises(NoBiteError, match="'harmless' of container .* has no effect: nothing hap"):
        FailureInjector(node).inject(Harmless(), fresh())
    machine.run("rm /tmp/ended")
    assert not stored_faults(machine)


def test_state_differs(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """A fault that leaves another state than before is an error, which hides no other one."""
    box = fresh()
    differs = pytest.raises(FaultError, match="is over, but the state differs")
    with differs, FailureInjector(node) as chaos:
        chaos.inject(Harmless(changes=True), box)
    with pytest.raises(ZeroDivisionError), FailureInjector(node) as chaos:
        chaos.inject(Harmless(changes=True), box)
        _ = 1 / 0
    assert not stored_faults(machine)


def test_partly(node: Node, machine: SandboxNode, fresh: Fresh) -> None:
    """Where one of several targets fails, the fault ends in the others."""
    first, second = sorted((fresh(), fresh()), key=lambda each: each.name)
    machine.run(["docker", "pause", second.name])
    with pytest.raises(FaultError, match="is paused already"), FailureInjector(node) as chaos:
        chaos.inject(Pause(), Select(names=(first.name, second.name)))
    assert state(machine, first.name) == "running" and state(machine, second.name) == "paused"
    machine.run(["docker", "unpause", second.name])


def test_select(node: Node, fresh: Fresh) -> None:
    with Fleet(
        node, ContainerTestConfig(image=BUSYBOX, labels={"tier": "back"}), 4, "box"
    ) as fleet:
        fresh()
        engine = fleet["box-1"].engine

        def names(select: Select, seed: int = 1) -> list[str]:
            return [x.name.partition("_")[0] for x in select.find([engine], random.Random(seed))]

        everybody = ["box-1", "box-2", "box-3", "box-4"]
        assert names(Select(label="tier=back")) == names(Select(pattern="box-.*")) == everybody
        assert names(Select(label="tier", pattern="box-[23]_.*")) == ["box-2", "box-3"]
        assert names(Select(names=(fleet["box-4"].name,))) == ["box-4"]
        picks = [names(Select(label="tier", pick=2), seed) for seed in range(10)]
        assert {len(pick) for pick in picks} == {2} and len({str(pick) for pick in picks}) > 2
        assert names(Select(label="tier", pick=2), 5) == picks[5]
        with pytest.raises(NoTargetError, match="no running container fits"):
            Select(label="tier=front").find([engine], random.Random(1))


def test_without_root(machine: SandboxNode, node: Node, fresh: Fresh) -> None:
    """A user whose lease is not root's gets an error before anything is changed."""
    box = fresh()
    add_user(machine, "docker_chaos", "docker")
    other = connect(machine.address, "docker_chaos", key=machine.private_key_file)
    try:
        with pytest.raises(FaultError, match="uses its engine without sudo"):
            FailureInjector(other).inject(Pause(), box.name)
        assert state(machine, box.name) == "running"
    finally:
        other.cleanup()
        other.close()
        machine.run("userdel -r docker_chaos 2>/dev/null || :")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pause(duration=0), "duration: given 0"),
        (lambda: Stop(grace=-1), "grace: given -1"),
        (lambda: CpuStress(workers=0), "workers: given 0"),
        (lambda: MemoryPressure(size="many"), "size: given 'many'"),
        (lambda: DiskFull(path="tmp"), "path: given 'tmp'"),
        (lambda: NetworkFault(), "delay: given 0.0; legal: a delay, a loss"),
        (lambda: NetworkFault(loss=2), "loss: given 2; legal: a share of packets, from 0 to 1"),
        (lambda: NetworkFault(loss=0.1, jitter=1), "delay: given 0.0; legal: a delay, with jitter"),
        (lambda: NetworkFault(delay=1, interface="a;b"), "interface: given 'a;b'"),
        (lambda: Select(), "select: given"),
        (lambda: Select(pattern="("), "select, pattern: given '('"),
        (lambda: FailureInjector([]), "nodes: given []"),
    ],
)
def test_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(message)
