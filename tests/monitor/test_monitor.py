"""Monitor of a node's containers, against what they really do."""

from __future__ import annotations

import json
import time
from typing import Callable

import pytest
from lisa.node import Node
from lisa.util import constants

from lisa_container import ConfigError, ContainerExecutor, DockerAdvanced
from lisa_container.errors import AlertError, EngineError, GrowthError
from lisa_container.monitor import Alert, Monitor, check_leak, compare
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]
MIB = 1 << 20
# Uses a processor for a number of seconds of processor time.
BURN = "while [ $(cut -d' ' -f14 /proc/$$/stat) -lt {ticks} ]; do n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; done"
# Allocates memory and keeps it for a while.
EAT = "x=$(head -c {bytes} /dev/zero | tr '\\0' x); sleep {seconds}; : $x"


def burn(seconds: float) -> str:
    return BURN.format(ticks=int(seconds * 100))


def test_figures(node: Node, fresh: Fresh) -> None:
    busy, idle = fresh(memory="256m"), fresh()
    with Monitor(node) as monitor:
        before = monitor.snapshot()
        eater = busy.run_async(EAT.format(bytes=40 * MIB, seconds=60))
        busy.run(burn(1.0), expected_exit_code=0)
        eventually(lambda: (monitor.snapshot()[busy.name].memory or 0) > 40 * MIB)
        busy.run("sleep 100 & sleep 100 & true", nohup=True)
        after = monitor.snapshot()
        eater.kill()
    used = {change.name: change for change in compare(before, after)}
    assert 1.0 <= (used[busy.name].cpu or 0) < 4
    assert (used[idle.name].cpu or 0) < 0.5
    assert not used[busy.name].has_begun and not used[busy.name].has_ended
    assert (used[busy.name].memory or 0) > 39 * MIB
    seen = after[busy.name]
    assert seen.limit == 256 * MIB and after[idle.name].limit is None
    assert (seen.peak or 0) >= (seen.memory or 0) > 0 and (seen.pids or 0) >= 4
    assert seen.id == busy.id and not seen.is_final and seen.oom_kills == 0
    assert after.node.processors >= 1 and 0 < after.node.memory < after.node.limit
    assert after.node.cpu - before.node.cpu >= 1.0
    assert after.time > before.time


def test_samples(node: Node, fresh: Fresh) -> None:
    """Samples come by themselves, at the interval; the log of the run has them."""
    box = fresh()
    file = constants.RUN_LOCAL_LOG_PATH / "containers" / "usage.jsonl"
    file.unlink(missing_ok=True)
    with Monitor(node, 0.2) as monitor:
        eventually(lambda: len(monitor.samples(box.name)) > 10)
    times = [sample.time for sample in monitor.samples(box.id)]
    steps = sorted(late - early for early, late in zip(times[2:], times[3:]))
    assert 0.15 < steps[len(steps) // 2] < 0.35
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = [each for line in lines for each in line["containers"] if each["name"] == box.name]
    assert [each["time"] for each in found] == times and lines[0]["usage"]["processors"] >= 1


def test_short_life(node: Node) -> None:
    """A container that lives for less than an interval has its final figures."""
    docker = node.tools[DockerAdvanced]
    with Monitor(node, 30) as monitor:
        before = monitor.snapshot()
        for name in ("first", "second"):
            docker.run_in_container(BUSYBOX, burn(0.3), name=name, expected_exit_code=0)
        docker.run_in_container(BUSYBOX, "true", expected_exit_code=0)
        changes = compare(before, monitor.snapshot())
    assert len(changes) == 3 and all(x.has_begun and x.has_ended for x in changes)
    assert [0.3 <= (x.cpu or 0) < 1.5 for x in changes] == [True, True, False]


def test_replaced(node: Node) -> None:
    """A container that was replaced under its name is not added to the old one."""
    docker = node.tools[DockerAdvanced]
    with Monitor(node) as monitor:
        before = monitor.snapshot()
        docker.run_in_container(BUSYBOX, burn(0.5), name="twice", expected_exit_code=0)
        docker.run_in_container(BUSYBOX, burn(0.2), name="twice", expected_exit_code=0)
        after = monitor.snapshot()
    one, two = (change for change in compare(before, after) if change.name == "twice")
    assert one.id != two.id and (one.cpu or 0) >= 0.5 > (two.cpu or 0) >= 0.2
    assert after["twice"].id == two.id
    assert {sample.id for sample in monitor.samples("twice")} == {two.id}


def test_oom_is_counted_once(node: Node, fresh: Fresh) -> None:
    box = fresh(memory="16m")
    with Monitor(node, 0.2, [Alert("oom_kills", above=0, fails=False)]) as monitor:
        before = monitor.snapshot()
        for number in (1, 2):
            assert box.run("tail /dev/zero").exit_code == 137
            eventually(lambda n=number: monitor.snapshot()[box.name].oom_kills == n)  # type: ignore[misc]
        (change,) = compare(before, monitor.snapshot())
    assert change.oom_kills == 2
    (violation,) = monitor.violations
    assert str(violation).startswith(f"oom_kills of container '{box.name}' was 1, above 0")


def test_network(node: Node, fresh: Fresh) -> None:
    server = fresh(command="httpd -f -p 80 -h /bin", ready={"port": 80})
    client, hosted = fresh(), fresh(network_mode="host")
    size = int(server.run("stat -c %s /bin/busybox").stdout)
    with Monitor(node) as monitor:
        before = monitor.snapshot()
        url = f"http://{server.node.address}/busybox"
        client.run(f"wget -q -O /dev/null {url}", expected_exit_code=0)
        used = {change.name: change for change in compare(before, monitor.snapshot())}
    assert size < (used[client.name].received or 0) < 1.5 * size
    assert size < (used[server.name].sent or 0) < 1.5 * size
    assert used[hosted.name].received is None


def test_alerts(node: Node, fresh: Fresh) -> None:
    """An alert that fails raises at the end of the block; each excess is told once."""
    box, other = fresh(), fresh()
    limit = Alert("memory", above=30 * MIB, seconds=0.5, containers=box.name)
    busy = Alert("cpu", above=0.5, seconds=1, fails=False)
    with pytest.raises(AlertError) as caught, Monitor(node, 0.2, [limit, busy]) as monitor:
        for container in (box, other):
            container.run(EAT.format(bytes=40 * MIB, seconds=2), expected_exit_code=0)
        other.run(burn(2), expected_exit_code=0)
    (line,) = str(caught.value).splitlines()[1:]
    assert (
        line.startswith(f"- memory of container '{box.name}' was ") and "above 3.14573e+07" in line
    )
    assert [x.container for x in monitor.violations if x.alert is limit] == [box.name]
    assert other.name in {x.container for x in monitor.violations if x.alert is busy}
    # An error in the block is not hidden.
    with pytest.raises(ZeroDivisionError), Monitor(node, 0.2, [Alert("pids", above=0)]) as monitor:
        eventually(lambda: monitor.violations)
        _ = 1 / 0


def test_leak(node: Node, fresh: Fresh) -> None:
    """Growth with each operation is found, and the scatter of a container without any is not."""
    box = fresh()
    with Monitor(node) as monitor:
        trend = check_leak(monitor, box.name, lambda: box.run("true"), count=200)
        assert not trend.exceeds(10240) and trend.points >= 20
        box.run("mount -t tmpfs none /mnt 2>/dev/null; mkdir -p /dev/shm/leak")
        numbers = iter(range(1000))

        def leak() -> None:
            box.run(f"head -c 40000 /dev/zero >/dev/shm/leak/{next(numbers)}")

        with pytest.raises(GrowthError, match=r"for each of 200 operations; allowed: 10240"):
            check_leak(monitor, box.name, leak, count=200)


def test_connection_closed(node: Node, fresh: Fresh) -> None:
    """LISA closes the connection after each case; the monitor goes on."""
    box = fresh()
    with Monitor(node, 0.2) as monitor:
        before = len(monitor.samples(box.name))
        node.close()
        assert box.run("echo open again").stdout == "open again"
        eventually(lambda: len(monitor.samples(box.name)) > before + 3)
        assert monitor.snapshot()[box.name].id == box.id


def test_nothing_left(node: Node, machine: SandboxNode) -> None:
    count = "pgrep -fc LISA_CONTAINER_[M]ONITOR || true"
    with Monitor(node) as monitor:
        assert int(machine.run(count).stdout) == 1
    monitor.stop()  # harmless
    eventually(lambda: int(machine.run(count).stdout) == 0)
    with pytest.raises(EngineError, match="the monitor does not run"):
        monitor.snapshot()
    assert monitor.overhead < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda node: Monitor(node, 0.01), "interval: given 0.01; legal: at least 0.1 seconds"),
        (lambda node: Monitor(node, -1), "interval: given -1; legal: a number of seconds above 0"),
        (lambda node: Alert("memroy", above=1), "alert, figure: given 'memroy'; did you mean"),
        (lambda node: Alert("memory"), "alert, above: given None; legal: a number"),
        (lambda node: Alert("memory", above=1, containers="("), "alert, containers: given '('"),
    ],
)
def test_arguments(make: Callable[[Node], object], message: str, node: Node) -> None:
    with pytest.raises(ConfigError) as caught:
        make(node)
    assert str(caught.value).startswith(message)


def test_overhead(node: Node) -> None:
    """The program tells its own processor time, which does not grow by itself."""
    with Monitor(node, 0.1) as monitor:
        begun, used = time.monotonic(), monitor.overhead
        time.sleep(2)
        monitor.snapshot()
        assert 0 < monitor.overhead - used < (time.monotonic() - begun) / 2
