"""Pure logic of the toolbox for container runtimes: users, configs, parsers, differences."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lisa_container.archives.pack import Packing
from lisa_container.errors import ConfigError, LeakError, NodeStateError
from lisa_container.images import ExtractedImage
from lisa_container.runtimes import Kind, Mount, Network, NodeSnapshot
from lisa_container.runtimes.descriptors import parse_descriptors
from lisa_container.runtimes.http import _parse
from lisa_container.runtimes.leaks import OF_RUNNER
from lisa_container.runtimes.network import (
    IpAddress,
    Link,
    Listener,
    Route,
    parse_addresses,
    parse_links,
    parse_listeners,
    parse_routes,
)
from lisa_container.runtimes.snapshot import Thing, _processes
from lisa_container.runtimes.spec import BundleSettings, make_spec
from lisa_container.runtimes.users import User, user_of

IMAGE = ExtractedImage(
    Path("rootfs"),
    (),
    "",
    "",
    "",
    ("entry",),
    ("word",),
    {"A": "1"},
    "/srv",
    "",
    {},
    (),
    0,
    0,
    (),
    {},
)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """Return a root file system with users and groups."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\napp:x:1000:1001::/:\nbad:x:x:0\n\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nextra:x:7:nobody,app\nshort\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User()),
        ("app", User(1000, 1001, (7,))),
        ("1000", User(1000, 1001, (7,))),
        ("5", User(5, 0)),
        ("app:extra", User(1000, 7)),
        ("5:6", User(5, 6)),
    ],
)
def test_user(rootfs: Path, text: str, user: User) -> None:
    assert user_of(rootfs, text) == user


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("who", "/etc/passwd has no user 'who'. Give a number"),
        ("app:who", "/etc/group has no group 'who'"),
        ("bad", "damaged"),
        ("app:short", "damaged"),
    ],
)
def test_unknown_user(rootfs: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        user_of(rootfs, text)
    assert told in str(caught.value)


@pytest.mark.parametrize("link", ["etc", "etc/passwd"])
def test_links_of_a_hostile_image_are_not_followed(rootfs: Path, tmp_path: Path, link: str) -> None:
    """Root is in this machine's /etc/passwd, and in no file of the image."""
    path = rootfs / link
    path.rename(rootfs / "old")
    path.symlink_to(f"/{link}")
    with pytest.raises(ConfigError, match="no user 'root'"):
        user_of(rootfs, "root")


def test_pipe_of_a_hostile_image_does_not_block(rootfs: Path) -> None:
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")
    with pytest.raises(ConfigError, match="no user 'root'"):
        user_of(rootfs, "root")


def test_config() -> None:
    settings = BundleSettings(
        None, {"B": "2"}, [Mount("/a", "/b", is_read_only=True)], Network.NONE, True
    )
    spec = make_spec(IMAGE, User(5, 6, (7,)), "rootfs", "name", settings)
    process = spec["process"]
    assert process["args"] == ["entry", "word"]
    assert process["env"][1:] == ["A=1", "B=2"] and process["env"][0].startswith("PATH=/")
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
    assert spec["root"] == {"path": "rootfs", "readonly": True}
    bind = {"destination": "/b", "type": "bind", "source": "/a", "options": ["rbind", "ro"]}
    assert spec["mounts"][-1] == bind
    assert {"type": "network"} in spec["linux"]["namespaces"]


def test_networks() -> None:
    def namespaces(network: Network | str) -> list[dict[str, str]]:
        settings = BundleSettings(["x"], {"PATH": "/"}, (), network, False)
        spec = make_spec(IMAGE, User(), "rootfs", "name", settings)
        assert spec["process"]["env"] == ["A=1", "PATH=/"]
        return [x for x in spec["linux"]["namespaces"] if x["type"] == "network"]

    assert namespaces(Network.HOST) == []
    assert namespaces("/run/netns/blue") == [{"type": "network", "path": "/run/netns/blue"}]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"command": []}, "command: given []; legal: a list of one word or more"),
        ({"command": "true"}, "command: given 'true'"),
        ({"environment": {"A=B": "x"}}, "environment, name: given 'A=B'; legal: a name without"),
        ({"network": "bridge"}, "network: given 'bridge'; legal: a member of Network"),
    ],
)
def test_wrong_settings(values: dict[str, object], told: str) -> None:
    legal = {"command": None, "environment": {}, "mounts": (), "network": Network.NONE}
    with pytest.raises(ConfigError) as caught:
        BundleSettings(**{**legal, "is_read_only": False, **values})  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_wrong_mounts() -> None:
    with pytest.raises(ConfigError, match=r"mount, target: given 'b'; legal: an absolute path"):
        Mount("/a", "b")
    with pytest.raises(ConfigError, match="mount, source: given '/a/../b'"):
        Mount("/a/../b", "/b")


def test_network_parsers() -> None:
    text = """[{}, {"ifname": "lo", "flags": ["LOOPBACK", "UP"], "addr_info": [
        {"local": "10.1.2.3", "prefixlen": 32, "label": "lo:faas"},
        {"local": "::1", "prefixlen": 128}, {}]},
        {"ifname": "v", "flags": [], "linkinfo": {"info_kind": "veth"}}]"""
    assert parse_addresses(text) == [
        IpAddress("10.1.2.3", 32, "lo", "lo:faas"),
        IpAddress("::1", 128, "lo", "lo"),
    ]
    assert parse_links(text) == [Link("lo", "", True), Link("v", "veth", False)]
    routes = '[{"dst": "default", "gateway": "10.0.0.1", "dev": "e"}]\n[{"dst": "fe80::/64"}]\n'
    assert parse_routes(routes) == [Route("default", "10.0.0.1", "e"), Route("fe80::/64", "", "")]
    assert parse_listeners(
        "udp UNCONN 0 0 10.0.0.1%eth0:68 0.0.0.0:*\ntcp LISTEN 0 128 [::1]:22 [::]:*\nodd line\n"
        "tcp LISTEN 0 128 *:80 *:*\n"
    ) == [Listener("udp", "10.0.0.1", 68), Listener("tcp", "::1", 22), Listener("tcp", "*", 80)]


def test_http_answers_of_several_workers() -> None:
    """Two workers had requests 0, 2, 4 and 1, 3; the first of the second had no answer."""
    output = b"200 0.1 2 0\n404 0.2 0\n200 0.3 3 0\n000 0.4 0 7\n200 0.5 1 0\n\nabcd\n\n"
    answers = _parse(output, "curl: (7) refused", 5, 2)
    assert [x.status for x in answers] == [200, 0, 404, 200, 200]
    assert [x.body for x in answers] == [b"ab", b"", b"", b"c", b"d\n\n"]
    assert str(answers[1]) == "no answer (curl: (7) refused)"
    assert str(answers[0]) == "status 200, body 'ab'"
    (part,) = _parse(b"200 10.0 2 28\n\nab", "curl: (28) timed out", 1, 1)
    assert str(part) == "no answer (curl: (28) timed out)"
    assert [x.status for x in _parse(b"\n", "", 2, 1)] == [0, 0]


def test_descriptor_parser() -> None:
    file, null = parse_descriptors(b"file 254:1 77 rw 4\na\nb\n\ncharacter-device 0:6 3 r 0\n\n")
    assert (file.content, file.inode, file.device, file.access) == (b"a\nb\n", 77, "254:1", "rw")
    assert (null.type, null.content) == ("character-device", b"")


def stat_line(pid: int, name: str, state: str, parent: int, flags: int = 0, start: int = 9) -> str:
    """Return a line of /proc/PID/stat."""
    return f"{pid} ({name}) {state} {parent} 1 1 0 -1 {flags}{' 0' * 12} {start} 1000 0 1 2\n"


def test_processes_in_a_snapshot() -> None:
    """Names may hold anything; zombies count, kernel threads and the login do not."""
    processes = (
        stat_line(1, "init", "S", 0)
        + stat_line(2, "kthreadd", "S", 0, flags=0x208040)
        + stat_line(10, "sh", "S", 5)
        + stat_line(11, "cat", "R", 10)
        + stat_line(20, "a) S 1\n9 (b", "S", 1)
        + stat_line(21, "gone", "Z", 20, flags=0x40000C)
    )
    things = _processes(
        {
            "self": "10\n5\n",
            "processes": processes,
            "commands": "/proc/1/cmdline:/sbin/init \n/proc/20/cmdline:evil\nname \n",
            "control groups of processes": "/proc/20/cgroup:0::/x\n",
            "namespaces": "/proc/1/ns:\ntotal 0\nl 1 0 net -> net:[1]\n\n/proc/20/ns:\n"
            "l 1 0 net -> net:[2]\nl 1 0 uts -> uts:[3]\n\n/proc/99/ns:\nl net -> net:[4]\n",
        }
    )
    assert [str(x) for x in things if x.kind is Kind.PROCESS] == [
        "process 1: /sbin/init (parent 0, cgroup unknown)",
        "process 20: evil\nname (parent 1: /sbin/init, cgroup /x)",
        "process 21 (zombie): [gone] (parent 20: evil\nname, cgroup unknown)",
    ]
    assert [x.key for x in things if x.kind is Kind.NAMESPACE] == ["net:[1]", "net:[2]", "uts:[3]"]


@pytest.mark.parametrize(
    ("parent", "child", "is_ignored"),
    [
        ("sh /var/lib/lisa_container_runtimes/0a1b/workspace.sh watch", "sleep 2", True),
        ("sh ./node.sh watch /run/lisa_container.0a1b", "sleep 0.5", True),
        ("sh ./node.sh watch /run/lisa_container.0a1b", "", True),  # it begins or ends
        ("sh /srv/server.sh watch", "sleep 2", False),
        ("/sbin/init", "sleep 2", False),
    ],
)
def test_children_of_watchers_are_no_leaks(parent: str, child: str, is_ignored: bool) -> None:
    processes = _processes(
        {
            "self": "5",
            "processes": stat_line(8, "sh", "S", 1) + stat_line(9, "sleep", "R", 8),
            "commands": f"/proc/8/cmdline:{parent} \n/proc/9/cmdline:{child} \n",
            "control groups of processes": "",
            "namespaces": "",
        }
    )
    line = str(processes[1])
    assert line.startswith(f"process 9: {child or '[sleep]'} (parent 8: {parent}")
    assert any(re.search(pattern, line) for pattern in OF_RUNNER) is is_ignored


def test_differences_of_snapshots() -> None:
    def snapshot(*names: str) -> NodeSnapshot:
        kinds = {"m": Kind.MOUNT, "p": Kind.PROCESS}
        return NodeSnapshot(tuple(Thing(kinds[name[0]], name, name) for name in names))

    before = snapshot("m1", "m2", "p1")
    assert snapshot("m1", "m2").leaks_since(before) == []  # a process may end
    assert snapshot("m1", "m1", "m2", "p2").leaks_since(before) == [
        "new mount m1",
        "new process p2",
    ]
    assert snapshot("m2").leaks_since(before) == ["missing mount m1"]


def test_messages() -> None:
    one = NodeStateError("vm", "a", "b", "12:00:00 UTC", 1, 0.0)
    assert str(one) == "'vm': expected a; there is b. Looked once, since 12:00:00 UTC."
    many = LeakError("vm", ["new x", "new y"], "12:00:00 UTC", 3, 1.25)
    assert str(many) == (
        "'vm' is not as before: 2 differences. Looked 3 times in 1.2 s, since 12:00:00 UTC:"
        "\n- new x\n- new y"
    )


def test_packing_keeps_attributes(tmp_path: Path) -> None:
    """By default, all entries are root's and have no extended attributes."""
    import io
    import tarfile

    file = tmp_path / "file"
    file.write_text("x")
    os.setxattr(file, "user.note", b"\xff\n=1")
    if os.geteuid() == 0:
        os.chown(file, 12, 13)
    for keeps in (True, False):
        data = b"".join(Packing(keeps_attributes=keeps).pack(file, "file"))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            (entry,) = archive.getmembers()
        owner = (file.stat().st_uid, file.stat().st_gid) if keeps else (0, 0)
        assert (entry.uid, entry.gid) == owner
        assert ("SCHILY.xattr.user.note" in entry.pax_headers) is keeps
