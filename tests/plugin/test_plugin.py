"""The pytest plugin on a real node: runs of pytest with tests that use its fixtures."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.plugin.examples import ALL, KILLED, LOCAL, OVERRIDING, WORKERS
from tests.plugin.process import Pytest
from tests.support.nodes import containers
from tests.support.waiting import eventually

# Seconds that a lease lasts here without renewal.
TTL = 4


@pytest.fixture
def words(machine: SandboxNode, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the options for the node."""
    monkeypatch.setenv("LISA_CONTAINER_LEASE_TTL", str(TTL))
    where = f"{machine.username}@{machine.address}:{machine.port}"
    return [f"--lisa-node=ssh://{where}", f"--lisa-key={machine.private_key_file}"]


def test_fixtures(tmp_path: Path, machine: SandboxNode, words: list[str]) -> None:
    """Containers of all scopes, their records, the report of a failure, and one connection."""
    ini = f"[pytest]\nlisa_node = {words[0].partition('=')[2]}\nlisa_log = log\n"
    (tmp_path / "pytest.ini").write_text(ini)
    snapshots = tmp_path / "snapshots" / "test_all"
    snapshots.mkdir(parents=True)
    (snapshots / "seen.txt").write_text("seen\n")
    run = Pytest(tmp_path, words[1], test_all=ALL, test_overriding=OVERRIDING).finish(120)
    assert "= 1 failed, 15 passed, 1 xfailed, 1 error in " in run.stdout, run
    folders = "ls -d /run/lisa_container.* /tmp/lisa_container.* 2>/dev/null || true"
    assert machine.run(folders).stdout == "", "leases end with the run"
    text = run.stdout

    (failed,) = re.findall(r"___ test_fails ___.*?(?=\n_{3,}|\n={3,})", text, re.S)
    assert re.search(r"commands in container 'lisa_test_\w+' \(lisa_container/busybox\)", failed)
    assert "$ echo shown; cat /missing\nshown\ncat: can't open '/missing'" in failed
    assert "(exit code 1, " in failed
    assert re.search(r"log of container .*\n.*from the first process", failed), failed
    assert "*** is kept secret" in failed and "value-of-the-token" not in failed
    assert "(5 earlier commands are in '" in failed and "$ true 4\n" not in failed
    # The set-up of a test fails after its container has started.
    (broken,) = re.findall(r"ERROR at setup of test_broken ___.*?(?=\n_{3,}|\n={3,})", text, re.S)
    assert "$ echo 'before the error'\nbefore the error\n(exit code 0, " in broken
    assert "kept containers" not in text
    (records,) = re.findall(r"-- records of the test --+\n(.*)", failed)
    assert any(Path(records).glob("containers/*/state.json"))
    # LISA's log is not printed; a warning in it is pytest's.
    assert run.stderr == "" and "Captured stderr" not in text
    assert "cannot follow LISA's reports" not in text
    assert re.search(r"-- Captured log call --+\nWARNING +lisa.*processes", failed), failed

    (folder,) = (tmp_path / "log").glob("*/*")
    results = (folder / "containers" / "results.jsonl").read_text().splitlines()
    assert len(results) == len(set(results)) == 2 * 17  # the begin and the end of each test
    cases = {}
    for path in folder.glob("tests/*/case.json"):
        record = json.loads(path.read_text())
        cases[record["name"]] = record
    assert cases["test_fails"]["status"] == "failed"
    assert "one is not two" in cases["test_fails"]["message"]
    assert cases["test_broken"]["status"] == "failed"
    assert cases["test_xfail"]["status"] == "skipped"
    assert cases["test_fresh[0]"]["status"] == cases["test_own_executor"]["status"] == "passed"
    assert cases["test_module_first"]["containers"] == cases["test_module_second"]["containers"]
    assert cases["test_prepared"]["containers"] == cases["test_prepared_again"]["containers"]
    assert cases["test_fresh[0]"]["containers"] != cases["test_fresh[1]"]["containers"]
    assert cases["test_fails"]["suite"] == "test_all.py"
    assert "test_without" not in cases


def test_workers(tmp_path: Path, machine: SandboxNode, words: list[str]) -> None:
    """With pytest-xdist each process has a lease: one that dies takes nothing of the others along."""
    more = ("-n", "2", "--keep-failed", "--tb=no")
    text = Pytest(tmp_path, *words, *more, test_workers=WORKERS).finish(120).stdout
    # `test_lives` goes on for twice the time of the dead process's lease.
    assert "PASSED test_workers.py::test_lives" in text, text
    assert "FAILED test_workers.py::test_dies" in text and "replacing crashed worker" in text
    assert "FAILED test_workers.py::test_fails" in text
    leases = (tmp_path / "leases").read_text().split()
    assert len(leases) == len(set(leases)) == 3  # of two processes, and of the dead one's successor
    (kept,) = containers(machine)
    enter = re.findall(rf"container '{kept}'; enter: (ssh .* exec -it {kept} sh'?)$", text, re.M)
    assert len(enter) == 1, text
    # Without a terminal, which `-t` asks for.
    login, _, inside = enter[0].replace("exec -it", "exec -i").partition(" -t ")
    done = subprocess.run(
        f"{login} {inside}", shell=True, input="cat /failed", capture_output=True, text=True
    )
    assert done.stdout == "here\n", done.stderr
    machine.run(["docker", "rm", "-f", kept])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed(
    tmp_path: Path, machine: SandboxNode, words: list[str], number: signal.Signals
) -> None:
    """Ctrl-C removes all at once; after SIGKILL nothing is left when the lease has expired."""
    process = Pytest(tmp_path, *words, test_killed=KILLED)
    eventually(lambda: (tmp_path / "ready").exists() or process.poll() is not None, 60)
    assert len(containers(machine)) == 2
    process.send_signal(number)
    run = process.finish()
    if number is signal.SIGINT:
        assert run.returncode == pytest.ExitCode.INTERRUPTED, run
        assert containers(machine) == []
    else:
        eventually(lambda: containers(machine) == [], TTL + 20)


def test_local(tmp_path: Path, machine: SandboxNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node may be the machine itself."""
    monkeypatch.setenv("DOCKER_HOST", f"unix:///proc/{machine.pid}/root/run/docker.sock")
    run = Pytest(tmp_path, "--lisa-node=local", test_local=LOCAL).finish()
    assert "= 1 passed" in run.stdout, run


def test_wrong_marker_with_workers(tmp_path: Path, words: list[str]) -> None:
    text = "import pytest\n@pytest.mark.container(imagee='x')\ndef test(container): pass\n"
    run = Pytest(tmp_path, *words, "-n", "1", test_wrong=text).finish()
    assert "given 'imagee'; did you mean 'image'?" in run.stdout, run
    assert "no tests ran in " in run.stdout and "INTERNALERROR" not in run.stdout
