"""VMs that are frozen when a case fails, by `lisa -r` and `lisa-container vm`."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drgn
import pytest
import yaml
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

from lisa_container.errors import VmFrozenError
from lisa_container.microvm import MicroVm, Nic, PrivateNetwork, VmConfig
from lisa_container.microvm.freezing import freeze_failed
from lisa_container.microvm.frozen.find import find_folders
from lisa_container.microvm.frozen.record import CONSOLE, RECORD, STATE, read_frozen
from lisa_container.microvm.frozen.thaw import ThawedVm
from lisa_container.microvm.places import Places
from lisa_container.recording.records import CONTAINERS_FOLDER, RUN_FILE
from tests.support import programs
from tests.support.docs_examples import DOCS, examples
from tests.support.runs import Run, run_lisa
from tests.support.vms import run_in
from tests.support.waiting import eventually

SCRIPT = Path(__file__).with_name("frozen_script.py")
SUITES = Path(__file__).with_name("suites")
PAGE = DOCS / "microvm.md"
CASE = "verify_counter"
# Asks the process for its memory, and prints it with that of the file system.
LOOK = """\
kill -USR1 $(cat /dev/shm/pid)
until [ -e /dev/shm/seen ]; do sleep 0.1; done
cat /dev/shm/counter && echo && cat /dev/shm/seen /proc/sys/kernel/random/boot_id
cut -d. -f1 /proc/uptime
"""


@dataclass(frozen=True)
class Failed:
    """Run with frozen VMs."""

    run: Run
    log: Path

    def vm(self, *words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `lisa-container vm` for the run's log folder."""
        action, *rest = map(str, words)
        log = ("--log", str(self.log))
        return programs.run(*programs.CLI, "vm", action, *log, *rest, timeout=120, folder=folder)

    @property
    def folder(self) -> Path:
        """Folder of the frozen VM of the first case."""
        return next(self.log.glob(f"**/tests/*-{CASE}/frozen/node0"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the copies that these tests thaw."""
    return Places(tmp_path_factory.mktemp("cache")).running


@pytest.fixture(autouse=True)
def nothing_runs(running: Path) -> Iterator[None]:
    """Check that no test leaves a copy behind."""
    yield
    assert not running.is_dir() or not list(running.iterdir())


@pytest.fixture(scope="module")
def failed(image: object, running: Path, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    """Run a case that fails, and a later one."""
    return run_cases("verify_counter|verify_later", running, tmp_path_factory.mktemp("run"))


def run_cases(names: str, running: Path, folder: Path) -> Failed:
    """Run cases with the page's runbook."""
    (example,) = (each for each in examples(PAGE) if each.name == "frozen")
    content = {
        "name": "frozen",
        "extension": [{"path": str(SUITES), "name": "vm_test_suites"}],
        **yaml.safe_load(example.text),
        "notifier": [{"type": "console"}, {"type": "junit"}],
        "testcase": [{"criteria": {"name": names}}],
    }
    failed = Failed(run_lisa(content, folder), folder / "log")
    for record in failed.log.glob(f"**/frozen/*/{RECORD}"):
        # Other processes have VMs, too, in the usual folder.
        origin = json.loads(record.read_text())["origin"]
        changed(record.parent, origin={**origin, "cache_dir": str(running.parent)})
    return failed


def changed(folder: Path, **values: Any) -> None:
    """Change values in the record of a frozen VM."""
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **values}))


def test_thawed_three_times(failed: Failed) -> None:
    """Each copy has the memory of the moment of the failure, before the case's clean-up."""
    run = failed.run
    assert run.statuses() == {CASE: "failed", "verify_later": "passed"}, run.output
    told = re.findall(
        r"of the failed case '(\w+)' is frozen in (\d+) MiB; .* of 2048 MiB", run.output
    )
    assert [name for name, _ in told] == [CASE], run.output
    assert f"Enter: lisa-container vm thaw {CASE} --log {failed.log}" in run.output
    seen = []
    for _ in range(3):
        done = failed.vm("thaw", CASE, "--command", LOOK)
        assert done.returncode == 0, done.stderr
        *memory, uptime = done.stdout.splitlines()
        seen.append((memory, int(uptime)))
    (counter, history, _), first = seen[0]
    assert [memory for memory, _ in seen] == [seen[0][0]] * 3
    assert re.search(rf"Expected <{counter}> to be equal to <2000>", run.cases[CASE].message)
    assert len(history.split()) > 100
    assert max(abs(uptime - first) for _, uptime in seen) < 20


def test_page(failed: Failed, tmp_path: Path) -> None:
    """Each command line of the page's example, the last of which removes the frozen VM."""
    copy = Failed(failed.run, tmp_path / "log")
    shutil.copytree(failed.log, copy.log, copy_function=os.link)
    blocks = re.findall(
        r"^```sh\n(lisa-container vm frozen\n.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    (lines,) = (block.splitlines() for block in blocks)
    outputs = []
    for line in lines:
        done = copy.vm(*shlex.split(line)[2:], folder=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        outputs.append(done.stdout)
    listed, counter, core, discarded = outputs
    assert re.search(rf"^{CASE} +node0 +\S+ +\d+ +can be thawed$", listed, re.M), listed
    assert counter.isdigit() and counter != "2000"
    assert core.startswith("verify_counter.core: memory of Linux 6.")
    assert discarded.startswith(f"removed frozen VM 'node0' of case '{CASE}' of run ")
    assert not list(copy.log.glob(f"**/*-{CASE}/frozen/*"))


# It makes the container's image in a VM, which takes a minute without KVM.
@pytest.mark.sampled(0)
def test_container_goes_on(running: Path, tmp_path: Path) -> None:
    """A container of the case runs in the copy, with its files."""
    failed = run_cases("verify_container", running, tmp_path)
    script = "docker exec $(docker ps -q) cat /said; echo $?"
    done = failed.vm("thaw", "verify_container", "--command", script)
    assert done.stdout == "from the case\n0\n", done


def test_core(failed: Failed, tmp_path: Path) -> None:
    """`drgn` opens the core: notes, symbols, and the guest's pages."""
    core = tmp_path / "core"
    done = failed.vm("core", CASE, "--output", core)
    assert done.returncode == 0, done.stderr
    version = re.fullmatch(rf"{core}: memory of Linux (\S+)\n", done.stdout)
    assert version, done.stdout
    assert stat.S_IMODE(core.stat().st_mode) == 0o600
    assert core.stat().st_blocks * 512 < 0.8 * core.stat().st_size
    program = drgn.Program()
    program.set_core_dump(core)
    assert program["UTS_RELEASE"].string_().decode() == version[1]
    program.register_symbol_finder("kallsyms", load_vmlinux_kallsyms(program), enable_index=0)
    address = program.symbol("linux_banner").address
    assert program.read(address, 100).startswith(f"Linux version {version[1]} ".encode())
    again = failed.vm("core", CASE, "--output", core)
    assert again.returncode == 2 and "it exists; give another one" in again.stderr


def test_names(failed: Failed) -> None:
    """By the folder of the case, by the run, and mistakes with the legal names."""
    folder, run = failed.folder, failed.folder.parents[3]
    by_folder = failed.vm("thaw", folder.parents[1].name, "--run", run.name[:10], "-c", "true")
    assert by_folder.returncode == 0, by_folder.stderr
    for words in (("nothing",), (CASE, "--vm", "node7"), (CASE, "--run", "1999")):
        done = failed.vm("thaw", *words)
        assert done.returncode == 2
        assert f"{CASE} (node0, run {run.name})" in done.stderr
    shutil.copytree(folder, folder.with_name("node1"))
    try:
        several = failed.vm("thaw", CASE)
        assert f"give one of them: {folder.parents[1].name} --vm node0" in several.stderr
        assert failed.vm("discard", CASE, "--vm", "node1").returncode == 0
    finally:
        shutil.rmtree(folder.with_name("node1"), ignore_errors=True)
    assert folder.is_dir()


def test_modes(failed: Failed) -> None:
    folder = failed.folder
    assert (
        stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    )
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def damage_state(folder: Path) -> None:
    (folder / STATE).write_bytes((folder / STATE).read_bytes()[:-1])


def damage_content(folder: Path) -> None:
    content = (folder / STATE).read_bytes()
    (folder / STATE).write_bytes(bytes(4096) + content[4096:])


def remove_base(folder: Path) -> None:
    disks = json.loads((folder / RECORD).read_text())["disks"]
    changed(folder, disks={name: {**disk, "base": "/nowhere"} for name, disk in disks.items()})


def touch_base(folder: Path) -> None:
    disks = json.loads((folder / RECORD).read_text())["disks"]
    changed(folder, disks={name: {**disk, "base_mark": [1, 2]} for name, disk in disks.items()})


def open_to_others(folder: Path) -> None:
    (folder / RECORD).chmod(0o666)


DAMAGES = {
    damage_state: r"its file 'state' has \d+ bytes instead of \d+",
    damage_content: r"cannot be thawed: (?s:.)*Not a migration stream",
    remove_base: r"its image '/nowhere' is gone \(No such file or directory\)",
    touch_base: r"its image '\S+' was changed since",
    open_to_others: "belongs to another user, or others may write to it",
    lambda folder: changed(folder, qemu="1.0"): "it ran in QEMU 1.0, and this machine has QEMU",
    lambda folder: changed(folder, accelerator="kvm"): "it ran by kvm, and this machine has tcg",
    lambda folder: changed(folder, format=0): "was written by another version of lisa_container",
    lambda folder: changed(folder, disks=[]): "is damaged: its frozen.json has no legal content",
    lambda folder: changed(folder, arguments=["-nothing"]): "cannot be thawed: .*-nothing: invalid",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged(damage: Any, failed: Failed, tmp_path: Path) -> None:
    copy = shutil.copytree(failed.folder, tmp_path / "node0", symlinks=True)
    damage(copy)
    with pytest.raises(VmFrozenError, match=DAMAGES[damage]), ThawedVm(read_frozen(copy)):
        raise AssertionError("thawed")


def test_core_without_image(failed: Failed, tmp_path: Path) -> None:
    copy = shutil.copytree(failed.folder, tmp_path / "node0")
    remove_base(copy)
    with ThawedVm(read_frozen(copy), with_disks=False) as vm:
        assert vm.guest.monitor("query-status")["status"] == "paused"


def test_interrupted(failed: Failed, running: Path) -> None:
    """After Ctrl-C or a kill of `vm thaw`, nothing of the copy is left."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        words = (
            "vm",
            "thaw",
            "--log",
            failed.log,
            CASE,
            "--command",
            "echo thawed >/dev/console; sleep 600",
        )
        thaw = programs.Captured(*programs.CLI, *map(str, words))
        eventually(lambda: "thawed" in console_of(running), 60)
        thaw.send_signal(number)
        assert thaw.finish().returncode == code
        eventually(lambda: not list(running.iterdir()))


def console_of(running: Path) -> str:
    return "".join(file.read_text() for file in running.glob(f"*/{CONSOLE}"))


def run_folder(folder: Path) -> Path:
    """Make the folder of a run with a case; return that of the case."""
    (folder / "log" / "day" / "run" / CONTAINERS_FOLDER).mkdir(parents=True)
    (folder / "log" / "day" / "run" / CONTAINERS_FOLDER / RUN_FILE).write_text("{}")
    case = folder / "log" / "day" / "run" / "tests" / "case"
    case.mkdir(parents=True)
    return case


def test_killed_while_freezing(image: object, tmp_path: Path) -> None:
    """After SIGKILL of the runner, what it has written is neither thawed nor left behind."""
    case = run_folder(tmp_path)
    runner = subprocess.Popen([sys.executable, str(SCRIPT), str(case)])
    state = case / "frozen" / ".vm0.unfinished" / STATE
    eventually(lambda: state.exists() and state.stat().st_size, 120)
    runner.kill()
    runner.wait()
    assert state.exists()
    done = programs.run(*programs.CLI, "vm", "thaw", "killed", "--log", str(tmp_path / "log"))
    assert done.returncode == 2 and "Frozen VMs there: none" in done.stderr
    assert not list((case / "frozen").iterdir())


def test_no_room(vm: MicroVm, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A VM that does not fit is not frozen, and goes on."""
    case = run_folder(tmp_path)
    for limit, told in ((0.01, "its memory takes more than"), (0, "there is no room left")):
        assert freeze_failed([vm], "full", case, limit, logging.getLogger()) == []
        assert "is not frozen: " in caplog.messages[-1] and told in caplog.messages[-1]
        assert not list((case / "frozen").iterdir())
        assert vm.is_on and run_in(vm, "echo on") == "on\n"


def test_repeated_failure_and_panic(other_vm: MicroVm, tmp_path: Path) -> None:
    """The VM goes on after it was frozen; when it has panicked, there is only its memory."""
    case = run_folder(tmp_path)
    log = logging.getLogger()
    (first,) = freeze_failed([other_vm], "again", case, 4, log)
    assert run_in(other_vm, "echo on") == "on\n"
    other_vm.run_script("(sleep 0.1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    eventually(lambda: "Kernel panic" in other_vm.console)
    (second,) = freeze_failed([other_vm], "again", case, 4, log)
    assert [each.folder.name for each in (first, second)] == ["other", "other-2"]
    assert find_folders(case.parents[1]) == [first.folder, second.folder]
    with ThawedVm(second) as copy, pytest.raises(VmFrozenError, match="sysrq triggered crash"):
        copy.go_on()


def test_disks_and_networks(image: object, tmp_path: Path) -> None:
    """A further disk has its content in the copy; a private network leads nowhere."""
    case = run_folder(tmp_path)
    nics = (Nic(PrivateNetwork(), "10.91.0.1/24"),)
    # As in the page's example, whose template serves here, too.
    with MicroVm(VmConfig(name="one", data_disks_gib=(3,), nics=nics)) as vm:
        disk = vm.data_disks[0]
        vm.run_script(f"mkfs.ext4 -q {disk} && mount {disk} /mnt && echo kept >/mnt/file")
        (frozen,) = freeze_failed([vm], "disks", case, 4, logging.getLogger())
    with ThawedVm(frozen) as copy:
        copy.go_on()
        command = [*copy.ssh_command(), "cat /mnt/file; ip -4 -br addr show eth1"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert re.fullmatch(r"kept\neth1 +UP +10.91.0.1/24 \n", done.stdout), done
