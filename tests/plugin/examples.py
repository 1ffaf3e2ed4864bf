"""Files with tests, which runs of pytest in `test_plugin.py` run."""

ALL = """
import pytest
from lisa.tools import Uname

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite
from lisa_container.testinfra import host

IMAGE = "lisa_container/busybox"
TOKEN = "value-of-" + "the-token"
pytestmark = pytest.mark.container(IMAGE)


# A suite of LISA may share files with tests. It listens to LISA's reports, too.
class Suite(ContainerTestSuite):
    def _get_container_config(self):
        return ContainerTestConfig(image=IMAGE)


@pytest.mark.parametrize("number", range(2))
def test_fresh(container, number):
    container.run("test ! -e /used && touch /used", expected_exit_code=0)


@pytest.mark.container(scope="module")
def test_module_first(container):
    container.run("touch /first", expected_exit_code=0)


@pytest.mark.container(scope="class", hostname="box")
class TestClass:
    def test_class_first(self, container):
        container.run("touch /first && hostname > /name", expected_exit_code=0)

    def test_class_second(self, container):
        assert container.run("cat /first /name").stdout == "box"
        assert container.node.tools[Uname].get_linux_information().kernel_version_raw


@pytest.mark.container(scope="module")
def test_module_second(container, engine):
    container.run("test -e /first", expected_exit_code=0)
    # The class's own, and those of tests, are gone.
    assert [each.name for each in engine.client.containers.list()] == [container.name]


def test_factory(container_factory, engine):
    boxes = [container_factory(IMAGE, name=f"box_{n}", user="1000") for n in range(2)]
    assert [box.run("id -u").stdout for box in boxes] == ["1000", "1000"]
    config = ContainerTestConfig(image=IMAGE, hostname="given")
    assert container_factory(config, user="7").run("id -u; hostname").stdout == "7\\ngiven"


@pytest.fixture(scope="module")
def prepared(module_container_factory):
    box = module_container_factory(IMAGE)
    box.run("echo prepared >/prepared", expected_exit_code=0)
    return box


def test_prepared(prepared):
    assert prepared.run("cat /prepared").stdout == "prepared"


def test_prepared_again(prepared, engine):
    assert prepared.run("cat /prepared").stdout == "prepared"
    assert not [x for x in engine.client.containers.list() if x.name.startswith("box_")]


def test_own_executor(node):
    with ContainerExecutor(node, ContainerTestConfig(image=IMAGE)) as box:
        box.run("true", expected_exit_code=0)
    # All tests so far were served by one connection.
    connections = "awk '$2 ~ /:0016$/ && $4 == 01' /proc/net/tcp | wc -l"
    assert node.execute(connections, shell=True).stdout == "1"


def test_dynamic(request):
    assert request.getfixturevalue("container").run("echo 1").stdout == "1"


def test_snapshot(container):
    container.run("echo seen").assert_output_matches("seen")


def test_testinfra(container):
    passwd = host(container).file("/etc/passwd")
    assert passwd.is_file and passwd.mode == 0o644 and passwd.contains("^root:")
    assert not host(container).file("/missing 'x'").exists
    waiting = container.run_async("exec sleep 77")
    process = host(container).process.get(args="sleep 77", user="root")
    assert (process.comm, process.pid) == ("sleep", waiting.pid) and process.ppid
    waiting.kill()
    assert not host(container).process.filter(args="sleep 77")
    assert host(container).check_output("echo %s", "\\u00e4 'x'") == "\\u00e4 'x'"


@pytest.mark.container(environment={"API_TOKEN": TOKEN})
def test_fails(container, container_factory):
    for number in range(23):
        container.run(f"true {number}")
    container.run("echo shown; cat /missing")
    container.run("echo $API_TOKEN is kept secret; sleep 100 >/dev/null 2>&1 &")
    command = ["sh", "-c", "echo from the first process; exec sleep 100"]
    container_factory(IMAGE, command=command, init="engine")
    assert 1 == 2, "one is not two"


@pytest.fixture
def broken(container):
    container.run("true")
    container.run("echo 'before the error'")
    raise RuntimeError("no set-up")


@pytest.mark.container(evidence="never")
def test_broken(broken):
    pass


@pytest.mark.xfail
def test_xfail(container):
    assert container.run("false").exit_code == 0


def test_without():
    pass
"""

# A user's own fixture `node` has a connection of its own, which ends before the run.
OVERRIDING = """
import pytest
from lisa_container.addresses import parse_address
from lisa_container.container.live import release_lease
from lisa_container.engine.reach import connect, remote_node


@pytest.fixture(scope="module")
def node(request):
    address = parse_address(request.config.getini("lisa_node").partition("://")[2])
    own = remote_node(address, request.config.getoption("--lisa-key"), "")
    connect(own)
    yield own
    release_lease(own)
    own.close()


@pytest.mark.container("lisa_container/busybox", scope="module")
def test_overriding(node, container, container_factory, engine):
    assert container.host is node
    assert container_factory("lisa_container/busybox").run("echo 1").stdout == "1"
"""

WORKERS = """
import os
import time

import pytest
from lisa_container.engine.lease.lease import Lease

pytestmark = pytest.mark.container("lisa_container/busybox")


@pytest.fixture(scope="session", autouse=True)
def lease(node):
    from lisa_container.engine.installation import ensure_engine

    with open("leases", "a") as file:
        file.write(Lease.of(ensure_engine(node)).id + "\\n")


def test_dies(container):
    os._exit(1)


def test_lives(container):
    for _ in range(8):
        time.sleep(1)
        container.run("true", expected_exit_code=0)


def test_fails(container):
    container.run("echo here >/failed")
    assert 0
"""

KILLED = """
from pathlib import Path

import pytest


@pytest.mark.container("lisa_container/busybox", scope="session")
def test_waits(container, container_factory):
    container_factory("lisa_container/busybox")
    Path("ready").touch()
    container.run("sleep 600")
"""

LOCAL = """
import pytest


@pytest.mark.container("lisa_container/busybox")
def test_local(container, node):
    assert not node.is_remote
    assert container.run("echo 1").stdout == "1"
"""

VMS = """
import time

import pytest
from lisa_container.testinfra import host

pytestmark = pytest.mark.vmtest
MODULES = "/proc/modules"


def note(vm):
    with open("vms", "a") as file:
        file.write(f"{vm.machine._guest.process.folder}\\n")


def test_commands(vm):
    note(vm)
    vm.run("modprobe dummy && echo kept >/kept", expected_exit_code=0)
    assert "dummy" in vm.read_file(MODULES)
    result = vm.run("cat; echo err >&2; exit 3", stdin="out")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)
    waiting = vm.spawn("read line; echo got $line; sleep 1000")
    waiting.write("it\\n")
    while waiting.stdout != "got it\\n":
        time.sleep(0.05)
    assert waiting.is_running
    waiting.kill()
    assert waiting.wait().exit_code == 137
    assert vm.run("pgrep -x sleep").exit_code == 1
    with pytest.raises(TimeoutError, match=r"did not end in 1 seconds and was killed[^:]*:\\nso far"):
        vm.run("echo so far; sleep 1000", timeout=1)
    # All that was served by one connection.
    connections = "awk '$2 ~ /:0016$/ && $4 == 01' /proc/net/tcp | wc -l"
    assert vm.run(connections).stdout == "1"
    test_commands.port, test_commands.folder = vm.machine.port, vm.machine._guest.process.folder


def test_files(vm, tmp_path):
    # The VM of the test before, as it was at its beginning.
    note(vm)
    assert vm.machine.port == test_commands.port and not test_commands.folder.exists()
    assert "dummy" not in vm.read_file(MODULES)
    with pytest.raises(FileNotFoundError, match="/kept"):
        vm.read_file("/kept")
    vm.write_file("/new folder/file", "t\u00e4xt\\n", 0o600)
    assert vm.read_file("/new folder/file") == "t\u00e4xt\\n"
    assert host(vm).file("/new folder/file").mode == 0o600
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "tool").write_text("#!/bin/sh\\necho from the tool\\n")
    (tmp_path / "tree" / "below" / "tool").chmod(0o755)
    vm.copy(tmp_path / "tree", "/opt/")
    assert vm.run("/opt/tree/below/tool").stdout == "from the tool"
    with pytest.raises(Exception, match="cannot create /proc/none"):
        vm.write_file("/proc/none", "x")
    vm.reset()
    note(vm)
    assert vm.run("test -e /opt/tree").exit_code == 1


@pytest.mark.vmtest(scope="class", name="shared")
class TestClass:
    def test_class_first(self, vm):
        note(vm)
        vm.run("touch /first", expected_exit_code=0)

    def test_class_second(self, vm):
        vm.run("test -e /first", expected_exit_code=0)
        vm.run("echo 'said by the guest' >/dev/ttyS0; echo kept >/dev/shm/of_class")
        assert vm.run("hostname").stdout == "vm0", "the marker has a name"


def test_factory(vm_factory):
    vm = vm_factory(name="another")
    note(vm)
    assert vm.run("hostname").stdout == "another"
    vm.machine.run_script("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    with pytest.raises(Exception, match="had a kernel panic: sysrq triggered crash"):
        vm.run("sleep 1000")
    vm.reset()
    note(vm)
    assert vm.run("hostname").stdout == vm.name
"""

VM_SCOPES = """
import pytest


@pytest.fixture(scope="module")
def prepared(module_vm_factory):
    vm = module_vm_factory(name="prepared")
    vm.run("touch /prepared", expected_exit_code=0)
    return vm


def test_prepared(prepared):
    prepared.run("rm /prepared", expected_exit_code=0)


def test_prepared_again(prepared):
    assert prepared.run("test -e /prepared").exit_code == 1


@pytest.mark.vmtest(scope="session", name="shared")
def test_session_first(vm):
    vm.run("touch /first", expected_exit_code=0)


@pytest.mark.vmtest(scope="module", name="shared")
def test_module_first(vm):
    assert vm.run("test -e /first").exit_code == 1, "this is another VM"
    vm.machine.run_script("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    with pytest.raises(Exception, match="had a kernel panic"):
        vm.run("touch /second; sleep 1000")


@pytest.mark.vmtest(scope="module", name="shared")
def test_module_second(vm):
    vm.run("test ! -e /second", expected_exit_code=0)
    vm.run("touch /second", expected_exit_code=0)


@pytest.mark.vmtest(scope="module", name="shared")
def test_module_third(vm):
    vm.run("test -e /second", expected_exit_code=0)


@pytest.mark.vmtest(scope="session", name="shared")
def test_session_second(vm):
    vm.run("test -e /first", expected_exit_code=0)
"""

VM_NODE = """
import pytest


@pytest.mark.container("lisa_container/busybox", privileged=True)
def test_container(container, node):
    assert node.is_remote and node.name == "vm0"
    assert container.run("echo 1").stdout == "1"


def test_kept_in_node(container_factory):
    container_factory("lisa_container/busybox").run("echo kept >/file")
    assert False
"""

VM_KILLED = """
from pathlib import Path

import pytest


@pytest.mark.vmtest
@pytest.mark.parametrize("number", range(4))
def test_waits(vm, number):
    new = Path(f"new{number}")
    new.write_text(str(vm.machine._guest.process.folder))
    new.rename(f"ready{number}")
    vm.run("sleep 1000")
"""
