"""Records of commands in a container, and evidence of the container itself."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from lisa import secret
from lisa.node import Node
from lisa.util import constants

from lisa_container import (
    CommandNotStartedError,
    CommandTimeoutError,
    ConfigError,
    ContainerDiedError,
    ContainerExecutor,
    ContainerTestConfig,
)
from lisa_container.evidence import (
    NoiseRule,
    begin_of,
    default_noise_rules,
    find_changes,
    take_state,
)
from lisa_container.recording import trouble
from tests.support.disks import small_disk
from tests.support.nodes import BUSYBOX
from tests.support.runs import commands_of
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]
MIB = 1 << 20


class Records:
    """Folder in which a container's commands are recorded.

    Args:
        container: whose commands.
        folder: empty.
    """

    def __init__(self, container: ContainerExecutor, folder: Path) -> None:
        self.folder = folder
        self._container = container
        container.capture_to(folder)

    def all(self) -> list[dict[str, Any]]:
        """Return the records."""
        self._container.capture_to(None)  # what waits is written
        self._container.capture_to(self.folder)
        return commands_of(self.folder)

    def last(self) -> dict[str, Any]:
        return self.all()[-1]

    def output(self, record: dict[str, Any], stream: str = "stdout") -> bytes:
        kept = record[stream]
        if "file" in kept:
            return (self.folder / kept["file"]).read_bytes()
        return str(kept.get("text", "")).encode()

    def holds(self, text: str) -> bool:
        """Return whether any file of the folder has a text."""
        return any(
            text.encode() in path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        )


@pytest.fixture
def records(box: ContainerExecutor, tmp_path: Path) -> Iterator[Records]:
    yield Records(box, tmp_path / "records")
    box.capture_to(None)


@pytest.fixture(params=["resident shell", "engine"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return options of a command: stdin makes the engine start it, not the resident shell."""
    return {} if request.param == "resident shell" else {"stdin": b""}


@pytest.fixture
def warnings(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the warnings in the node's log, as a list that grows."""
    found: list[str] = []
    monkeypatch.setattr(trouble, "_reported", set())  # other tests may have met the same error

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                found.append(record.getMessage())

    handler = Handler()
    node.log.addHandler(handler)
    yield found
    node.log.removeHandler(handler)


# --- commands -----------------------------------------------------------------------------------


def test_all_of_a_command(box: ContainerExecutor, records: Records, way: dict[str, Any]) -> None:
    before = time.time()
    box.run(
        "echo out; sleep 0.2; echo err >&2; exit 3",
        cwd="/etc",
        update_envs={"MODE": "kernel"},
        user="nobody",
        **way,
    )
    record = records.last()
    started = record.pop("started")
    assert (
        before - 1 < time.mktime(time.strptime(started[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    )
    assert started.endswith("+00:00")
    assert 0.2 < record.pop("duration") < 20
    pieces = record.pop("pieces")
    assert [piece[1:] for piece in pieces] == [[1, 4], [2, 4]]
    assert pieces[1][0] - pieces[0][0] > 0.15
    del record["n"]
    assert record == {
        "state": "ended",
        "command": "echo out; sleep 0.2; echo err >&2; exit 3",
        "argv": None,
        "cwd": "/etc",
        "environment": {"MODE": "kernel"},
        "user": "nobody",
        "exit_code": 3,
        "signal": None,
        "oom_killed": False,
        "error": "",
        "stdout": {"bytes": 4, "cut": 0, "text": "out\n"},
        "stderr": {"bytes": 4, "cut": 0, "text": "err\n"},
        "resources": None,
    }


def test_words_and_signal(box: ContainerExecutor, records: Records) -> None:
    box.run(["sh", "-c", "kill -TERM $$"])
    record = records.last()
    assert record["argv"] == ["sh", "-c", "kill -TERM $$"]
    assert (record["exit_code"], record["signal"]) == (143, 15)


def test_node_and_async(box: ContainerExecutor, records: Records) -> None:
    """LISA's own commands, which have a terminal, and async commands are recorded."""
    box.node.execute("echo node", shell=True)
    assert records.output(records.last()) == b"node\r\n"
    box.run_async("echo forgotten; exit 4")
    eventually(lambda: records.last().get("exit_code") == 4)
    assert records.last()["stdout"]["text"] == "forgotten\n"


def test_numbers_and_many_at_once(box: ContainerExecutor, records: Records) -> None:
    def work(index: int) -> None:
        for turn in range(25):
            box.run(f"echo {index}.{turn}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records.all()
    assert sorted(record["n"] for record in found) == list(
        range(found[0]["n"], found[0]["n"] + 100)
    )
    texts = {record["command"]: record["stdout"]["text"] for record in found}
    assert texts == {f"echo {i}.{t}": f"{i}.{t}\n" for i in range(4) for t in range(25)}


def test_order_of_streams(box: ContainerExecutor, records: Records) -> None:
    """Recorded pieces give the order in which the output of both streams came."""
    box.run("for i in 1 2 3; do printf o$i; sleep 0.05; printf e$i >&2; sleep 0.05; done")
    record, at, order = records.last(), {1: 0, 2: 0}, ""
    for _, stream, size in record["pieces"]:
        text = record["stdout" if stream == 1 else "stderr"]["text"]
        order += text[at[stream] : at[stream] + size]
        at[stream] += size
    assert order == "o1e1o2e2o3e3"


def test_many_pieces(
    box: ContainerExecutor, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lisa_container.recording.commands.pieces._INLINE", 3)
    box.run("for i in 1 2 3 4 5; do echo o; sleep 0.02; echo e >&2; sleep 0.02; done")
    record = records.last()
    assert record["pieces"].endswith(".pieces")
    lines = (records.folder / record["pieces"]).read_text().splitlines()
    sizes = {
        stream: sum(x[2] for x in map(json.loads, lines) if x[1] == stream) for stream in (1, 2)
    }
    assert sizes == {1: 10, 2: 10}


def test_long_output_goes_to_a_file(box: ContainerExecutor, records: Records) -> None:
    """A long output is recorded as it comes, without growing memory."""
    running = box.run_async(
        "yes 0123456789 | head -c 3000000; sleep 2; echo end >&2", stdout=os.devnull
    )
    eventually(lambda: sum(x.stat().st_size for x in records.folder.rglob("*.stdout")) > 2900000)
    running.wait()
    record = records.last()
    assert record["stdout"] == {
        "bytes": 3000000,
        "cut": 0,
        "file": f"output/{record['n']:05}.stdout",
    }
    assert records.output(record) == (b"0123456789\n" * 300000)[:3000000]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    box.run("dd if=/dev/zero bs=1M count=100 2>/dev/null", stdout=os.devnull)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


def test_no_text(box: ContainerExecutor, records: Records) -> None:
    box.run("printf '\\377\\376'")
    assert records.output(records.last()) == b"\xff\xfe"


def test_limit_is_reported(fresh: Fresh, tmp_path: Path, warnings: list[str]) -> None:
    container = fresh(capture_limit="2m")
    records = Records(container, tmp_path)
    result = container.run(f"yes | head -c {3 * MIB}")
    assert len(result.stdout_bytes) == 3 * MIB
    record = records.last()
    assert (record["stdout"]["bytes"], record["stdout"]["cut"]) == (3 * MIB, MIB)
    assert len(records.output(record)) == 2 * MIB
    assert "capture_limit" in warnings[-1]
    assert f"yes | head -c {3 * MIB}" in warnings[-1]


def test_running_command_is_there_already(box: ContainerExecutor, records: Records) -> None:
    """A running command has a record that survives a killed runner."""
    running = box.run_async("echo begun; sleep 100")
    file = records.folder / "commands.jsonl"
    record = json.loads(eventually(lambda: file.exists() and file.read_text()))
    assert (record["state"], record["command"]) == ("running", "echo begun; sleep 100")
    assert record["stdout"]["bytes"] == 6
    running.kill()


def test_no_normal_end(box: ContainerExecutor, records: Records, way: dict[str, Any]) -> None:
    with pytest.raises(CommandTimeoutError):
        box.run("echo so far; sleep 100", timeout=1, **way)
    record = records.last()
    assert record["error"].startswith("CommandTimeoutError: ")
    assert (record["exit_code"], record["stdout"]["text"]) == (None, "so far\n")
    with pytest.raises(CommandNotStartedError):
        box.run("true", cwd="/no/such", **way)
    assert records.last()["error"].startswith("CommandNotStartedError: ")


def test_died(fresh: Fresh, tmp_path: Path) -> None:
    container = fresh()
    records = Records(container, tmp_path)
    container.run_async("sleep 1000")
    with pytest.raises(ContainerDiedError):
        container.run("echo last; kill -9 -1; sleep 5")
    with pytest.raises(ContainerDiedError):
        container.run("true")
    by_command = {record["command"]: record for record in records.all()}
    died, after = by_command["echo last; kill -9 -1; sleep 5"], by_command["true"]
    assert died["error"].startswith("ContainerDiedError: ")
    assert died["stdout"]["text"] == "last\n"
    assert after["error"].startswith("ContainerDiedError: ")
    container.stop()
    beside = next(record for record in records.all() if record["command"] == "sleep 1000")
    assert beside["state"] in ("ended", "left")


def test_no_shell(fresh: Fresh, no_shell: str, tmp_path: Path) -> None:
    container = fresh(image=no_shell, measure=True)
    records = Records(container, tmp_path)
    container.run(["cat", "/proc/self/comm"])
    record = records.last()
    assert (record["argv"], record["stdout"]["text"]) == (["cat", "/proc/self/comm"], "cat\n")
    assert record["resources"] is None


def test_unwritable_folder(box: ContainerExecutor, tmp_path: Path, warnings: list[str]) -> None:
    """An unwritable folder causes one warning, and the test continues."""
    (tmp_path / "file").write_text("no folder")
    box.capture_to(tmp_path / "file" / "below")
    try:
        for _ in range(3):
            assert box.run(f"yes | head -c {2 * MIB} | wc -c").stdout == str(2 * MIB)
            assert len(box.run(f"yes | head -c {2 * MIB}").stdout_bytes) == 2 * MIB
    finally:
        box.capture_to(None)
    assert len([text for text in warnings if "cannot be recorded" in text]) == 1


def test_full_disk(box: ContainerExecutor, tmp_path: Path, warnings: list[str]) -> None:
    """A record has the number of bytes that did not fit on a full disk."""
    with small_disk(tmp_path / "output", "1m"):
        box.capture_to(tmp_path)
        try:
            assert len(box.run(f"yes | head -c {2 * MIB}").stdout_bytes) == 2 * MIB
        finally:
            box.capture_to(None)
    assert len([text for text in warnings if "cannot be recorded" in text]) == 1
    record = commands_of(tmp_path)[-1]
    assert record["stdout"]["bytes"] == 2 * MIB
    assert record["stdout"]["cut"] > 0


def test_nothing_without_a_run(
    box: ContainerExecutor, monkeypatch: pytest.MonkeyPatch, node: Node
) -> None:
    monkeypatch.setattr(constants, "RUN_LOCAL_LOG_PATH", Path())
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        container.run("true")
        assert container.capture.folder is None
        with pytest.raises(ConfigError, match="capture_to"):
            container.collect(["/etc/passwd"])


# --- secrets ------------------------------------------------------------------------------------

KNOWN, OWN, LENT = "s3cret-known-to-lisa", "s3cret-of-the-container", "s3cret-of-a-command"


def test_secrets(fresh: Fresh, tmp_path: Path) -> None:
    secret.add_secret(KNOWN)
    container = fresh(environment={"API_KEY": OWN, "KEYBOARD": "layout", "PWD": "/plain"})
    records = Records(container, tmp_path)
    container.run(
        f"echo {KNOWN}; echo $API_KEY; echo $MY_TOKEN >&2", update_envs={"MY_TOKEN": LENT}
    )
    container.run(["true", f"--password={LENT}x", "https://user:pass-word@host/"])
    container.run(f"PASSWORD='{OWN} and more' env")
    with pytest.raises(CommandTimeoutError):
        container.run(f"echo {KNOWN}; sleep 100", timeout=0.2)
    first = records.all()[0]
    assert first["environment"] == {"MY_TOKEN": "***"}
    assert first["stderr"]["text"] == "***\n"
    for text in (KNOWN, OWN, LENT, "pass-word", "and more'"):
        assert not records.holds(text), text
    assert records.holds("layout")
    own = constants.RUN_LOCAL_LOG_PATH / "containers" / container.name / "container.json"
    assert OWN not in own.read_text()
    # Sizes of the pieces are those of the text that is there.
    sizes = {1: 0, 2: 0}
    for _, stream, size in first["pieces"]:
        sizes[stream] += size
    assert sizes == {1: len(first["stdout"]["text"]), 2: 4}


def test_secrets_in_long_output(box: ContainerExecutor, records: Records) -> None:
    """Secrets in a long output are masked wherever pieces and file parts end."""
    secret.add_secret(KNOWN, sub="<masked>")
    # Lines of changing length, so that secrets lie across all kinds of borders; no line end at all.
    script = (
        "i=0; while [ $i -lt 40000 ]; do printf '%s%.*s' $S $((i % 37)) "
        "0123456789012345678901234567890123456789; i=$((i+1)); done"
    )
    result = box.run(script, update_envs={"S": KNOWN})
    record = records.last()
    assert record["stdout"]["masked"] is True
    expected = result.stdout_bytes.replace(KNOWN.encode(), b"<masked>")
    assert records.output(record) == expected
    secret.reset()


# --- resources ----------------------------------------------------------------------------------


def test_resources(fresh: Fresh, tmp_path: Path) -> None:
    container = fresh(measure=True)
    records = Records(container, tmp_path)
    container.run("true")
    container.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    container.run("x=$(dd if=/dev/zero bs=1M count=24 2>/dev/null | tr '\\0' x); sleep 0.1")
    idle, busy, big = (record["resources"] for record in records.all())
    assert idle["cpu"] < 0.1 < busy["cpu"] < 30
    assert big["memory_peak"] > 24 * MIB > idle["memory_peak"] > 0
    assert not any(each["shared"] for each in (idle, busy, big))
    beside = container.run_async("sleep 1")
    container.run("true")
    beside.wait()
    assert [record["resources"]["shared"] for record in records.all()[-2:]] == [True, True]


# --- files --------------------------------------------------------------------------------------


def test_collect(fresh: Fresh, tmp_path: Path, warnings: list[str]) -> None:
    secret.add_secret(KNOWN)
    container = fresh(tmpfs={"/memory": ""})
    container.run(
        "mkdir -p /var/log/a/b /data '/odd name'; echo 1 >/var/log/1.log; echo 2 >/var/log/a/b/2.log; "
        f"echo no >/var/log/a/no.txt; echo {KNOWN} >/data/text; printf '\\0{KNOWN}' >/data/binary; "
        "echo odd >'/odd name/[x].log'; echo hidden >/memory/file; ln -s /etc/passwd /data/link; "
        "cp /bin/busybox /data/suid; chmod 4755 /data/suid; truncate -s 300M /data/huge"
    )
    copies = container.collect(
        [
            "/var/log/**/*.log",
            "/data",
            "/odd name/*",
            "/memory/file",
            "/proc/version",
            "/no/*",
            "/not",
        ],
        tmp_path,
    )
    found = {str(path.relative_to(tmp_path / "files")): path for path in copies}
    assert sorted(found) == [
        *("data/binary", "data/link", "data/suid", "data/text", "memory/file"),
        *("odd name/[x].log", "proc/version", "var/log/1.log", "var/log/a/b/2.log"),
    ]
    assert found["var/log/a/b/2.log"].read_text() == "2\n"
    assert found["data/text"].read_text() == "******\n"
    assert KNOWN.encode() in found["data/binary"].read_bytes()
    assert found["data/link"].read_text().startswith("root:")
    assert not any(path.is_symlink() or path.stat().st_mode & 0o7111 for path in copies)
    for words in ("'/no/*'", "'/not'", "'/data/huge' is not collected"):
        assert words in "\n".join(warnings)
    with pytest.raises(ConfigError, match="patterns: given 'relative'"):
        container.collect(["relative"])
    secret.reset()


@pytest.mark.parametrize("kind", ["died", "no shell"])
def test_collect_without_help(kind: str, fresh: Fresh, no_shell: str, tmp_path: Path) -> None:
    container = fresh(image=no_shell if kind == "no shell" else BUSYBOX)
    (tmp_path / "in.log").write_text("in")
    container.copy_to(tmp_path / "in.log", "/data/deep/in.log")
    container.copy_to(tmp_path / "in.log", "/data/plain")
    if kind == "died":
        container.kill()
    copies = container.collect(["/data/**/*.log", "/data/plain"], tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in copies) == [
        "files/data/deep/in.log",
        "files/data/plain",
    ]


# --- changes ------------------------------------------------------------------------------------


def changes(container: ContainerExecutor, begin: Any, rules: Any = None) -> dict[str, Any]:
    rules = default_noise_rules() if rules is None else rules
    found = find_changes(container.engine, container.name, begin, rules, time.monotonic() + 60)
    return dict(found)


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("kind", ["running", "died"])
def test_changes(kind: str, fresh: Fresh) -> None:
    container = fresh()
    container.run("mkdir /old; echo 1 >/old/same; echo 1 >/old/other; echo 1 >/old/gone")
    time.sleep(1.1)  # programs tell times in whole seconds
    begin = begin_of(container.engine, container.name)
    container.run(
        "echo 22 >/old/other; rm /old/gone; mkdir /new; echo 333 >/new/file; chmod 600 /new/file; "
        "ln -s file /new/link; rm /bin/vi; chmod 711 /etc/passwd; mkdir -p /var/cache/apt /x/__pycache__; "
        "echo c >/var/cache/apt/c; echo p >/x/__pycache__/m.pyc"
    )
    if kind == "died":
        container.kill()
    found = changes(container, begin)
    added = {each["path"]: each for each in found["added"]}
    assert added["/new/file"] == {
        "path": "/new/file",
        "kind": "file",
        "size": 4,
        "mode": "0600",
        "digest": digest("333\n"),
    }
    assert (added["/new/link"]["kind"], added["/new"]["kind"]) == ("link", "folder")
    assert not {"/old", "/old/same", "/sbin", "/var/cache/apt", "/x", "/x/__pycache__"} & set(added)
    assert sorted(found["deleted"]) == ["/bin/vi", "/old/gone"]
    changed = {each["path"]: each for each in found["changed"]}
    assert changed["/etc/passwd"]["mode"] == "0711"
    assert "/old/same" not in changed
    assert found["filtered"] == {"bytecode": 2, "cache": 3, "engine": 1}
    if kind == "running":
        assert (changed["/old/other"]["digest"], found["notes"]) == (digest("22\n"), [])
    else:
        assert "2 paths were changed before" in found["notes"][0]


def test_changes_have_limits(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    container = fresh()
    begin = begin_of(container.engine, container.name)
    container.run(
        "mkdir /many; for i in 1 2 3 4 5 6; do echo $i >/many/$i; done; echo long text >/z"
    )
    monkeypatch.setattr("lisa_container.evidence.changes.MOST_PATHS", 5)
    found = changes(container, begin, [NoiseRule("engine", "/sbin/docker-init")])
    assert (len(found["added"]), found["left_out"]) == (5, 3)
    assert "3 paths above 5" in found["notes"][-1]
    monkeypatch.setattr("lisa_container.evidence.changes.MOST_PATHS", 100)
    monkeypatch.setattr("lisa_container.evidence.changes.MOST_BYTES", 12)
    found = changes(
        container, begin, [NoiseRule("numbers", "/many/[1-3]"), NoiseRule("rest", "/sbin/*")]
    )
    assert found["filtered"] == {"numbers": 3, "rest": 1}
    digests = {each["path"]: each["digest"] for each in found["added"]}
    assert digests["/many/6"] == digest("6\n")
    assert digests["/z"] is None
    assert "12 bytes" in found["notes"][0]


def test_noise_rules() -> None:
    rule = NoiseRule("some", "/var/cache", "**/*.pyc", "/tmp/a?c/[!x]")
    for path in ("/var/cache", "/var/cache/a/b", "/m.pyc", "/a/b/m.pyc", "/tmp/abc/y"):
        assert rule.matches(path), path
    for path in ("/var/cached", "/var", "/m.pyx", "/tmp/a/c/y", "/tmp/abc/x"):
        assert not rule.matches(path), path
    with pytest.raises(ConfigError, match="noise rule, name: given 'No'"):
        NoiseRule("No", "/x")
    with pytest.raises(ConfigError, match="noise rule 'yes', pattern: given 'x'"):
        NoiseRule("yes", "x")


# --- the end of a container ---------------------------------------------------------------------


def test_state_out_of_memory(fresh: Fresh, tmp_path: Path) -> None:
    container = fresh(memory="24m", environment={"API_KEY": OWN})
    container.run("echo said $API_KEY >/proc/1/fd/1")
    container.run("x=$(dd if=/dev/zero bs=1M count=60 2>/dev/null | tr '\\0' x)")
    state = take_state(
        container.engine, container.name, tmp_path, container.capture.masking, "why", 60.0, MIB
    )
    assert state["problems"] == []
    assert state["running"] is True
    assert state["oom_kills"], "by the control group"
    assert state["oom_events"], "by the engine"
    assert (tmp_path / "container.log").read_text() == "said ***\n"
    inspected = (tmp_path / "inspect.json").read_text()
    assert json.loads(inspected)["Id"] == container.id
    assert OWN not in inspected


def test_state_of_a_removed_container(fresh: Fresh, tmp_path: Path) -> None:
    container = fresh()
    engine, masking = container.engine, container.capture.masking
    container.kill("KILL")
    state = take_state(engine, container.name, tmp_path, masking, "why", 60.0, MIB)
    assert (state["running"], state["exit_code"], state["problems"]) == (False, 137, [])
    engine.api.remove_container(container.id, force=True)
    state = take_state(engine, container.name, tmp_path, masking, "why", 60.0, MIB)
    assert (state["running"], state["exit_code"]) == (None, None)
    assert [problem.partition(":")[0] for problem in state["problems"]] == ["inspect", "log"]
