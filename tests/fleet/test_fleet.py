"""Fleets of containers on one node and on several."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from lisa.node import Node

from lisa_container import ConfigError, ContainerTestConfig, EngineError
from lisa_container.errors import ContainerStartError, FleetError
from lisa_container.fleet import Fleet, by_label, in_turn, least_loaded
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, engine_resources
from tests.support.waiting import eventually

_TIMED_OUT = 143  # SIGTERM of busybox's timeout
BOX = ContainerTestConfig(image=BUSYBOX)
# Answers on port 80 with its own name.
WEB = ContainerTestConfig(
    image=BUSYBOX,
    command=["sh", "-c", "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"],
    init="engine",
    ready={"http": 80},
)


@pytest.fixture(autouse=True)
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    before = engine_resources(machine)
    yield
    assert engine_resources(machine) == before


def test_life(node: Node) -> None:
    with Fleet(node, WEB, 4, "web") as fleet:
        assert list(fleet.members) == ["web-1", "web-2", "web-3", "web-4"] and len(fleet) == 4
        assert {x.stdout for x in fleet.map("hostname").values()} == set(fleet.members)
        # Each finds each by its name, and all by the fleet's.
        urls = " ".join(f"http://{name}/" for name in fleet.members)
        said = fleet.map(f"for url in {urls}; do wget -q -O - $url || exit 1; done")
        said.raise_failures()
        assert {x.stdout for x in said.values()} == {"\n".join(fleet.members)}
        found = fleet["web-1"].run("nslookup -type=a web | grep -c ^Address").stdout
        assert int(found) >= 4
    assert len(fleet) == 0
    fleet.stop()  # harmless


def test_isolated(node: Node) -> None:
    """Two fleets of one name do not meet."""
    with Fleet(node, WEB, 2, "web") as one, Fleet(node, BOX, 1, "web") as other:
        assert other["web-1"].run("hostname").stdout == "web-1"
        address = one["web-2"].node.address
        ask = f"timeout 3 wget -q -O - http://{address}/"
        assert one["web-1"].run(ask).stdout == "web-2"
        assert other["web-1"].run(ask).exit_code == _TIMED_OUT


def test_failures_hide_nothing(node: Node) -> None:
    """A failure in one member, an exit code or an exception, leaves the others their results."""
    with Fleet(node, BOX, 4, "box") as fleet:
        fleet["box-2"].run("touch /bad")
        fleet["box-3"].kill()
        results = fleet.map("test ! -e /bad || { echo is bad; exit 4; }")
        assert sorted(results) == ["box-1", "box-2", "box-4"] and len(results) == 3
        assert results.failed == ["box-2", "box-3"] and list(results.errors) == ["box-3"]
        assert (results["box-2"].exit_code, results["box-1"].exit_code) == (4, 0)
        with pytest.raises(EngineError, match="does not run"):
            results["box-3"]
        with pytest.raises(FleetError) as caught:
            results.raise_failures()
        lines = str(caught.value).splitlines()
        assert lines[0] == "the command failed in 2 of 4 members of the fleet:"
        assert lines[1] == "- box-2: exit code 4: is bad" and lines[2].startswith("- box-3: ")
        assert fleet.run_on(["box-1", "box-4"], "true").failed == []
        with pytest.raises(ConfigError, match="given 'box-5'"):
            fleet.run_on(["box-5"], "true")


def test_map_is_parallel(node: Node) -> None:
    """At one moment the command runs in all members."""
    uptime = "cut -d' ' -f1 /proc/uptime"
    with Fleet(node, BOX, 5, "box") as fleet:
        said = fleet.map(f"{uptime}; sleep 5; {uptime}").values()
        times = [[float(line) for line in result.stdout.splitlines()] for result in said]
        assert len(times) == 5 and max(begin for begin, _ in times) < min(end for _, end in times)


def test_scale_under_load(node: Node) -> None:
    """Members come and go while commands run; those that stay lose none."""
    with Fleet(node, BOX, 2, "box") as fleet:
        first = fleet["box-1"].id
        loads = [
            fleet[name].run_async("for i in 1 2 3 4; do echo $i; sleep 1; done")
            for name in fleet.members
        ]
        fleet.scale(5)
        assert list(fleet.members) == [f"box-{number}" for number in range(1, 6)]
        fleet.map("true").raise_failures()
        fleet.scale(2)
        assert [load.wait(30).stdout for load in loads] == ["1\n2\n3\n4"] * 2
        assert list(fleet.members) == ["box-1", "box-2"] and fleet["box-1"].id == first
        with pytest.raises(ConfigError, match="at least 1"):
            fleet.scale(0)


def test_partial_failure(node: Node, machine: SandboxNode) -> None:
    """If a member does not become ready, nothing of the fleet stays, network included."""
    fails = "[ $(hostname) != box-2 ] || { echo no disk; exit 3; }; sleep 1000"
    config = BOX.merged(
        command=["sh", "-c", fails], init="engine", ready="true", startup_timeout=10
    )
    before = engine_resources(machine)
    with pytest.raises(ContainerStartError, match="no disk"):
        Fleet(node, config, 3, "box").start()
    assert engine_resources(machine) == before


def test_failed_scale_changes_nothing(node: Node) -> None:
    fails = "[ $(hostname) != box-4 ] || exit 3; sleep 1000"
    config = BOX.merged(
        command=["sh", "-c", fails], init="engine", ready="true", startup_timeout=10
    )
    with Fleet(node, config, 2, "box") as fleet:
        with pytest.raises(ContainerStartError):
            fleet.scale(4)
        assert list(fleet.members) == ["box-1", "box-2"]
        fleet.map("true").raise_failures()


def test_roll(node: Node) -> None:
    """At each moment all names answer; in the end all members are new."""
    with Fleet(node, WEB, 3, "web") as fleet, Fleet(node, BOX, 1, "other"):
        old = {each.id for each in fleet}
        watcher = fleet.members  # their names, for the client
        ending = threading.Event()
        missing: list[str] = []

        def ask() -> None:
            while not ending.is_set():
                missing.extend(set(watcher) - set(fleet.members))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            fleet.roll(WEB.merged(environment={"VERSION": "2"}))
        finally:
            ending.set()
            thread.join()
        assert missing == [] and not old & {each.id for each in fleet}
        assert {x.stdout for x in fleet.map("echo $VERSION").values()} == {"2"}
        said = fleet["web-1"].run("for n in 1 2 3; do wget -q -O - http://web-$n/; done").stdout
        assert said == "web-1\nweb-2\nweb-3"


def test_failed_roll(node: Node) -> None:
    """A new version that does not start replaces no member."""
    with Fleet(node, WEB, 2, "web") as fleet:
        old = [each.id for each in fleet]
        with pytest.raises(ContainerStartError):
            fleet.roll(WEB.merged(command="false"))
        assert [each.id for each in fleet] == old
        fleet.map("wget -q -O /dev/null http://web/").raise_failures()


@pytest.mark.parametrize("way", ["kill", "remove"])
def test_replace_dead(way: str, node: Node, machine: SandboxNode) -> None:
    with Fleet(node, WEB, 3, "web") as fleet:
        victim = fleet["web-2"]
        name = victim.name
        machine.run(["docker", "rm", "-f", name] if way == "remove" else ["docker", "kill", name])
        assert fleet.dead() == ["web-2"]
        assert fleet.replace_dead() == ["web-2"]
        assert fleet.dead() == [] and fleet["web-2"].id != victim
        assert fleet["web-1"].run("wget -q -O - http://web-2/").stdout == "web-2"


def test_heals(node: Node) -> None:
    """A killed member is replaced soon, again and again, until the fleet ends."""
    with Fleet(node, WEB, 2, "web", heals=True) as fleet:
        for _ in range(2):
            victim = fleet["web-1"].id
            fleet["web-1"].kill()
            killed = time.monotonic()
            eventually(lambda: fleet["web-1"].id != victim and not fleet.dead(), 60)
            print(f"replaced after {time.monotonic() - killed:.1f} s")
        fleet.map("true").raise_failures()


def test_spread(node: Node) -> None:
    """Each command runs once, in the member that the choice says."""
    with Fleet(node, BOX, 3, "box") as fleet:
        commands = [f"echo {number} >>/done; sleep 0.1; echo {number}" for number in range(12)]
        answers = fleet.spread(commands, in_turn(), parallel=4)
        assert [answer.result and answer.result.stdout for answer in answers] == [
            str(number) for number in range(12)
        ]
        assert Counter(answer.member for answer in answers) == dict.fromkeys(fleet.members, 4)
        done = [int(line) for x in fleet.map("cat /done").values() for line in x.stdout.split()]
        assert sorted(done) == list(range(12))
        # One is busy: the default leaves that out.
        waits = ["sleep 3", *["sleep 0.05"] * 10]
        busy, *others = fleet.spread(waits)
        assert busy.member not in {answer.member for answer in others}
        failed, good = fleet.spread(["exit 3", "true"])
        assert failed.result is not None and good.result is not None
        assert (failed.result.exit_code, good.result.exit_code) == (3, 0)


def test_own_network(node: Node) -> None:
    """A config with a network of its own keeps that."""
    with Fleet(node, BOX.merged(network_mode="none"), 2, "box") as fleet:
        assert {x.stdout for x in fleet.map("ls /sys/class/net").values()} == {"lo"}


def test_nodes(node: Node, root_node: Node) -> None:
    """Members are spread over the nodes, here two connections to one machine."""
    with Fleet([node, root_node], BOX, 4, "box") as fleet:
        assert [each.host for each in fleet] == [node, root_node, node, root_node]
        fleet.scale(6)
        assert Counter(each.host for each in fleet) == {node: 3, root_node: 3}
        fleet.map("true").raise_failures()
    with Fleet([node, root_node], BOX, 3, "box", placement=least_loaded) as fleet:
        assert {each.host for each in fleet} == {node, root_node}
    with pytest.raises(ConfigError, match="has the label 'disk=ssd'"):
        Fleet([node, root_node], BOX, placement=by_label("disk=ssd")).start()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": []}, "nodes: given []; legal: a LISA node"),
        ({"count": 0}, "count: given 0; legal: a whole number of at least 1"),
        ({"count": True}, "count: given True"),
        ({"name": "a_b"}, "name: given 'a_b'"),
        ({"config": None}, "config: given None"),
        ({"config": ContainerTestConfig()}, "image: given ''"),
    ],
)
def test_arguments(arguments: dict[str, object], message: str, node: Node) -> None:
    with pytest.raises(ConfigError) as caught:
        Fleet(**{"nodes": node, "config": BOX, **arguments})  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
