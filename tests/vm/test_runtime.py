"""Bundles, runc and crun, assertions, leaks and descriptors in a VM, by the toolbox for runtimes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.errors import (
    ConfigError,
    LeakError,
    NodeStateError,
    RuntimeCommandError,
    RuntimeMachineError,
    UnsafeArchiveError,
)
from lisa_container.images import LayerEntry, image_from_layers
from lisa_container.microvm.session import VmSession
from lisa_container.runtimes import (
    DescriptorPassing,
    Expect,
    Mount,
    Network,
    OciRuntime,
    Workspace,
    no_leaks,
)
from tests.support.archives import docker_archive, member, tar
from tests.support.docs_examples import DOCS, run_page
from tests.support.runtimes import SOME_RUNTIMES, busybox
from tests.support.waiting import eventually
from testsuites import runtime_checks as checks

FOLDER = "/var/lib/lisa_container_runtimes"
SETTINGS = """
id; hostname; pwd; echo $A $B; cat /etc/mounted; stat -c '%u:%g %a' /srv/data /bin/su
grep CapBnd /proc/self/status; ls /sys/class/net; touch /file 2>&1; echo x >/etc/mounted
"""


@pytest.fixture(scope="module")
def workspace(runtime_vm: VmSession) -> Iterator[Workspace]:
    """Return a workspace for the tests of this file; afterwards, the VM must be as before."""
    folders = ["/var/lib", "/srv", "/tmp"]
    with no_leaks(runtime_vm, folders=folders), Workspace(runtime_vm) as opened:
        yield opened


@pytest.mark.parametrize("program", SOME_RUNTIMES)
def test_life(workspace: Workspace, handler_archive: Path, program: str) -> None:
    runtime = OciRuntime(workspace, program)
    assert program in runtime.version
    script = "echo out; echo err >&2; exit 3"
    with workspace.oci_bundle(handler_archive, command=["sh", "-c", script]) as bundle:
        result = runtime.run(bundle)
        assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)
    bundle = workspace.oci_bundle(handler_archive, command=["sh", "-c", "echo on; sleep 60"])
    with runtime.create(bundle) as container:
        created = container.state()
        assert (created.status, created.bundle) == ("created", bundle.path)
        container.start()
        running = container.wait_for("running")
        assert (running.pid, running.id) == (created.pid, bundle.name)
        assert [each.id for each in runtime.list()] == [bundle.name]
        with pytest.raises(RuntimeCommandError, match=f"cannot delete container .* {program}"):
            container.delete()
        eventually(lambda: container.output() == "on")
        container.kill()
        container.wait_for("stopped")
        container.delete()
        assert runtime.list() == []
        with pytest.raises(RuntimeCommandError, match=f"cannot state container.*{program}"):
            container.state()
    bundle.remove()
    assert workspace.count_bundles() == 0


def test_settings(runtime_vm: VmSession, workspace: Workspace) -> None:
    """The image's and the bundle's settings are in effect, and the image's owners are kept."""
    passwd = b"root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"
    image = image_from_layers(
        [
            {
                "bin/busybox": busybox(),
                "etc/passwd": passwd,
                "etc/group": b"extra:x:7:nobody,app\n",
                "srv/data": LayerEntry(b"x", mode=0o640, uid=1000, gid=7),
                "bin/su": LayerEntry(b"#!/bin/busybox\n", mode=0o4755),
            },
        ],
        env={"A": "image", "B": "image", "PATH": "/bin"},
        user="app",
        working_dir="/srv",
        entrypoint=["/bin/busybox", "sh", "-c"],
    )
    runtime_vm.write_file(f"{workspace.folder}/mounted", "of the host\n", mode=0o666)
    bundle = workspace.oci_bundle(
        image,
        name="settings",
        command=["/bin/busybox", "sh", "-c", "set -e; cd /srv; alias b=busybox\n" + SETTINGS],
        environment={"B": "bundle"},
        mounts=[Mount(f"{workspace.folder}/mounted", "/etc/mounted", is_read_only=True)],
        network=Network.HOST,
        is_read_only=True,
        edit=lambda spec: spec["process"]["capabilities"].update(bounding=["CAP_KILL"]),
    )
    spec = json.loads(runtime_vm.read_file(f"{bundle.path}/config.json"))
    assert spec == bundle.spec
    assert (spec["ociVersion"], spec["process"]["cwd"]) == ("1.0.2", "/srv")
    result = OciRuntime(workspace).run(bundle)
    lines = result.stdout.splitlines()
    assert lines[0] == "uid=1000(app) gid=1001 groups=7(extra)", result
    assert lines[1:5] == [bundle.name, "/srv", "image bundle", "of the host"]
    assert lines[5:7] == ["1000:7 640", "0:0 4755"]
    assert lines[7].split() == ["CapBnd:", "0000000000000020"]
    assert lines[8:10] == ["eth0", "lo"]
    assert "Read-only file system" in lines[10]
    assert result.exit_code != 0  # the last command writes to a read-only mount


def test_wrong_input(workspace: Workspace, handler_archive: Path, tmp_path: Path) -> None:
    """Each error names the cause and the next step."""
    hostile = tmp_path / "hostile.tar"
    hostile.write_bytes(docker_archive(tar(member("../../outside"))))
    linked = image_from_layers([{"etc/passwd": LayerEntry.symlink("/etc/passwd")}], user="root")
    with pytest.raises(UnsafeArchiveError, match="leads outside"):
        workspace.oci_bundle(hostile)
    with pytest.raises(ConfigError, match="/etc/passwd has no user 'root'"):
        workspace.oci_bundle(linked, command=["x"])
    with pytest.raises(ConfigError, match="name: given '../x'; legal: at most 32 of a-z"):
        workspace.oci_bundle(handler_archive, name="../x")
    with pytest.raises(ConfigError, match=r"network: given 'bridge'; legal: a member of Net"):
        workspace.oci_bundle(handler_archive, network="bridge")
    before = workspace.count_bundles()
    with pytest.raises(RuntimeMachineError, match=r"no runtime 'youki'.*packages=\('youki',\)"):
        OciRuntime(workspace, "youki")
    bundle = workspace.oci_bundle(handler_archive, command=["/missing"])
    with pytest.raises(RuntimeCommandError, match="cannot create container .*/missing"):
        OciRuntime(workspace).create(bundle)
    bundle.remove()
    assert workspace.count_bundles() == before


def test_expect(runtime_vm: VmSession) -> None:
    set_up = """
    ip address add 10.9.8.7/32 dev lo label lo:faas
    ip link add veth-a type veth peer name veth-b && ip link set veth-a up
    ip address add 10.9.9.1/24 dev veth-a && ip route add 10.77.0.0/16 via 10.9.9.2
    mkdir /tmp/www && echo page >/tmp/www/index.html && busybox httpd -p 10.9.8.7:8080 -h /tmp/www
    """
    tear_down = (
        "pkill -x busybox; ip link del veth-a; ip address del 10.9.8.7/32 dev lo; rm -r /tmp/www"
    )
    now = Expect(runtime_vm, seconds=0)
    runtime_vm.run(set_up, expected_exit_code=0)
    now.address("10.9.8.7", device="lo", label="lo:faas")
    now.route("10.77.0.0/16", via="10.9.9.2", device="veth-a")
    now.link("veth-a", kind="veth", is_up=True)
    now.listening(8080, "10.9.8.7")
    assert now.http("http://10.9.8.7:8080/", body="page").seconds > 0
    for call, told in (
        (lambda: now.address("10.9.8.7", label="lo:x"), "label 'lo:x'; there is 10.9.8.7/32"),
        (lambda: now.no_address(label="lo:faas"), "there is 10.9.8.7/32 on lo, label 'lo:faas"),
        (lambda: now.route("10.77.0.0/16", device="lo"), "is 10.77.0.0/16 via 10.9.9.2 on vet"),
        (lambda: now.no_route("10.77.0.0/16"), "expected no route to 10.77.0.0/16; there is"),
        (lambda: now.link("veth-b", is_up=True), "there is veth-b (veth, down)"),
        (lambda: now.no_link("veth-b"), "expected no interface veth-b; there is veth-b"),
        (
            lambda: now.listening(8081, "10.9.8.7"),
            "expected a listening socket tcp 10.9.8.7:80",
        ),
        (lambda: now.not_listening(8080), "there is tcp 10.9.8.7:8080"),
        (lambda: now.http("http://10.9.8.7:8080/", 500), "is status 200, body 'page\\n'"),
        (lambda: now.http("http://10.9.8.7:8080/", body="x"), "a body with 'x' from"),
        (lambda: now.http("http://10.9.8.7:1/"), "there is no answer (curl: (7)"),
        (lambda: now.empty("/tmp/www"), "there is 1 in it: index.html"),
        (lambda: now.root_file_system("/tmp/www"), "no file bin/sh; there: index.html"),
        (lambda: now.same_root_file_system(["/", "/tmp"], "www"), "one inode of 'www' in all"),
    ):
        with pytest.raises(NodeStateError) as caught:
            call()
        assert told in str(caught.value)
        assert "Looked once, since " in str(caught.value)
    runtime_vm.run(tear_down, expected_exit_code=0)


@pytest.mark.sampled(1, "dear")
def test_expect_waits(runtime_vm: VmSession) -> None:
    expect = Expect(runtime_vm, seconds=20)
    runtime_vm.run("(sleep 2; ip link add late type dummy) >/dev/null 2>&1 &")
    expect.link("late")
    runtime_vm.run("(sleep 2; ip link del late) >/dev/null 2>&1 &")
    expect.no_link("late")
    with pytest.raises(NodeStateError, match=r"Looked \d+ times in 1\.\d s, since \d\d:"):
        Expect(runtime_vm, seconds=1).link("never")


def test_every_kind_of_leak_is_found(runtime_vm: VmSession) -> None:
    leak = """
    ip address add 10.9.8.7/32 dev lo label lo:leak; ip netns add leaked
    mkdir /sys/fs/cgroup/leaked /tmp/leaked; mount -t tmpfs leaked /tmp/leaked; touch /srv/leaked
    nohup unshare --uts sleep 77 >/dev/null 2>&1 &
    busybox httpd -p 127.0.0.1:7777 -h /srv; ip route add 10.78.0.0/16 dev lo
    """
    clean = """
    pkill -x busybox; pkill -x sleep; ip route del 10.78.0.0/16; umount /tmp/leaked
    rmdir /sys/fs/cgroup/leaked /tmp/leaked; rm /srv/leaked; ip netns del leaked
    umount /run/netns; rmdir /run/netns; ip address del 10.9.8.7/32 dev lo
    """
    with pytest.raises(LeakError) as caught, no_leaks(runtime_vm, 0, folders=["/srv"]):
        runtime_vm.run(leak, expected_exit_code=0)
    leaks = "\n".join(caught.value.leaks)
    for part in (
        "new address 10.9.8.7/32 on lo, label 'lo:leak'",
        "new mount nsfs at /run/netns/leaked",
        "new cgroup /sys/fs/cgroup/leaked",
        "new mount tmpfs at /tmp/leaked (of leaked)",
        "new file /srv/leaked",
        ": sleep 77 (parent ",
        "new namespace uts:[",
        "new listening socket tcp 127.0.0.1:7777",
        "new route 10.78.0.0/16 on lo",
    ):
        assert part in leaks, leaks
    with pytest.raises(LeakError, match="missing address 10.9.8.7/32") as caught:  # noqa: SIM117
        with no_leaks(runtime_vm, 1, folders=["/srv"]):
            runtime_vm.run(clean)
    new = [each for each in caught.value.leaks if each.startswith("new")]
    assert new == [], caught.value


@pytest.mark.sampled(1, "dear")
def test_own_error_of_the_block_counts(runtime_vm: VmSession) -> None:
    with pytest.raises(ValueError), no_leaks(runtime_vm):
        raise ValueError


@pytest.mark.sampled(1, "dear")
def test_leaked_container_is_found(workspace: Workspace, handler_archive: Path) -> None:
    checks.check_leak_is_found(OciRuntime(workspace, "crun"), handler_archive)


@pytest.mark.sampled(1, "dear")
def test_descriptors(workspace: Workspace, handler_archive: Path) -> None:
    checks.check_descriptors(OciRuntime(workspace, "crun"), handler_archive)
    passing = DescriptorPassing(OciRuntime(workspace, "runc"))
    terminal = passing.console(handler_archive, ["sh", "-c", "test -t 1 && echo a terminal"])
    assert terminal.type == "character-device"
    assert terminal.content == b"a terminal\r\n"
    with pytest.raises(RuntimeCommandError, match="cannot receive desc.*/missing: No such"):
        passing.to_machine(handler_archive, ["/missing"])


def test_page(runtime_vm: VmSession, handler_archive: Path) -> None:
    """The examples of docs/runtimes.md run."""
    run_page(DOCS / "runtimes.md", vm=runtime_vm, archive=handler_archive)


def test_next_workspace_removes_what_a_dead_one_left(
    runtime_vm: VmSession, workspace: Workspace, handler_archive: Path
) -> None:
    """Without its watcher, as after a power cut, a workspace stays until another one begins."""

    def exists(path: str) -> bool:
        return runtime_vm.run(["test", "-e", path]).exit_code == 0

    dead = Workspace(runtime_vm)
    dead.__enter__()
    runtime = OciRuntime(dead, "crun")
    bundle = dead.oci_bundle(handler_archive, command=["sleep", "4246"])
    runtime.create(bundle).start()
    runtime_vm.run(f"kill -s KILL -- -$(cat {dead.folder}/watcher)", expected_exit_code=0)
    assert exists(dead.folder) and runtime_vm.run("pgrep -f 'sleep 424[6]'").stdout
    with Workspace(runtime_vm):
        assert not exists(dead.folder)
        assert exists(workspace.folder)
    assert runtime_vm.run("pgrep -f 'sleep 424[6]'").stdout == ""
    assert dead.folder not in runtime_vm.read_file("/proc/mounts")


def test_lost_runner_leaves_nothing(
    runtime_vm: VmSession, workspace: Workspace, handler_archive: Path
) -> None:
    """The watcher removes a workspace when the connection of its runner ends."""
    bundle = workspace.oci_bundle(handler_archive, command=["sleep", "600"])
    OciRuntime(workspace).create(bundle).start()
    assert runtime_vm.run("pgrep -x sleep").stdout
    runtime_vm.close()
    eventually(lambda: runtime_vm.run(f"test -e {FOLDER}").exit_code == 1)
