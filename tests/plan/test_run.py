"""Plans run on a real node: the order of steps, failures, groups, files, artifacts."""

from __future__ import annotations

import base64
import ctypes
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from lisa import secret
from lisa.node import Node

from lisa_container.engine.lease.report import list_resources
from lisa_container.plan import PlanResult, StepResult, run_plan
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.boxes import processes
from tests.support.plans import Run, Write, message, statuses
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]


@pytest.fixture(autouse=True)
def nothing_left(machine: SandboxNode) -> None:
    """Check that no container is left by the test before."""
    assert machine.run(["docker", "ps", "-aq"]).stdout == ""


# --- order ------------------------------------------------------------------------------------


def test_after_a_failure(run: Run) -> None:
    """Steps after a failure are skipped with a reason; `always` and clean-up run."""
    seen: list[StepResult] = []
    result = run(
        """
    setup:
      - {name: before, run: echo before >> /tmp/log}
    steps:
      - {name: good, run: echo good >> /tmp/log}
      - {name: bad, run: echo bad >> /tmp/log; exit 3}
      - {name: not run, run: echo no >> /tmp/log}
      - {name: always, always: true, run: echo always >> /tmp/log}
      - {name: nor this, run: echo no >> /tmp/log}
    cleanup:
      - {name: bad too, run: echo cleaning >> /tmp/log; false}
      - {name: last, run: cat /tmp/log, expect: {stdout: "before\\ngood\\nbad\\nalways\\ncleaning"}}
    """,
        on_step=seen.append,
    )
    assert statuses(result) == {
        "before": "passed",
        "good": "passed",
        "bad": "failed",
        "not run": "skipped",
        "always": "passed",
        "nor this": "skipped",
        "bad too": "failed",
        "last": "passed",
    }
    assert message(result, "bad") == "exit code: expected 0, but it is 3"
    assert message(result, "not run") == message(result, "nor this") == "step 'bad' failed"
    assert [step.name for step in result.failed] == ["bad", "bad too"]
    assert seen == result.steps


def test_set_up_fails(run: Run) -> None:
    result = run("""
    setup:
      - {name: fails, run: exit 1}
      - {name: and more, run: "true"}
    steps:
      - {name: test, always: true, run: "true"}
    cleanup:
      - {name: cleans, run: "true"}
    """)
    assert statuses(result) == {
        "fails": "failed",
        "and more": "skipped",
        "test": "skipped",
        "cleans": "passed",
    }
    assert message(result, "test") == "set-up failed: step 'fails'"


def test_container_that_cannot_be_had(run: Run) -> None:
    result = run("""
    container: {image: lisa_container/no-such-image}
    steps: [{name: test, run: "true"}]
    cleanup: [{name: cleans, run: "true"}]
    """)
    assert statuses(result) == {"prepare": "failed", "test": "skipped", "cleans": "skipped"}
    assert "no-such-image" in message(result, "prepare")


def test_file_that_cannot_be_put(run: Run) -> None:
    result = run("""
    files: {/etc/hosts/below: x}
    steps: [{name: test, run: "true"}]
    """)
    assert statuses(result) == {"prepare": "failed", "test": "skipped"}
    assert "/etc/hosts" in message(result, "prepare")


# --- what a step is ---------------------------------------------------------------------------


def test_endings(run: Run) -> None:
    result = run("""
    steps:
      - {name: a list of codes, run: exit 4, exit_code: [3, 4]}
      - {name: a signal, run: 'kill -TERM $$', signal: TERM}
      - {name: another signal, always: true, run: exit 1, signal: 15}
      - {name: not there, always: true, run: [no_such_program], exit_code: 127}
      - {name: no such folder, always: true, cwd: /nowhere, run: pwd}
      - {name: no such user, always: true, user: nobody_at_all, run: pwd}
    """)
    assert list(statuses(result).values()) == ["passed", "passed", "failed", "passed"] + 2 * [
        "failed"
    ]
    assert message(result, "another signal") == "exit code: expected SIGTERM (143), but it is 1"
    assert "could not be started" in message(result, "no such folder")
    assert "nobody_at_all" in message(result, "no such user")


def test_timeout(run: Run, machine: SandboxNode) -> None:
    """A timeout kills a step, whose output so far is reported, and clean-up runs."""
    began = time.monotonic()
    result = run("""
    steps:
      - {name: hangs, timeout: 1, run: cd /etc; echo so far; sleep 2222}
      - {name: where it was, always: true, run: pwd, expect: {stdout: /}}
    cleanup:
      - {name: cleans, run: ps -o args, expect: {stdout: {not_contains: sleep 2222}}}
    """)
    assert time.monotonic() - began < 10
    assert message(result, "hangs") == (
        "the command did not end in 1 seconds and was killed\nstdout was:\nso far"
    )
    assert list(statuses(result).values()) == ["failed", "passed", "passed"]
    assert processes(machine, "sleep 2222") == []


def test_timeout_without_a_kill(run: Run, machine: SandboxNode) -> None:
    """The message says that the command may still run, and why."""

    def pause() -> None:
        assert eventually(lambda: processes(machine, "sleep 2227"), 30)
        machine.run("docker pause $(docker ps -q)")

    pausing = threading.Thread(target=pause)

    def on_step(result: StepResult) -> None:
        if result.name == "begins":
            pausing.start()
        else:
            pausing.join()
            machine.run("docker unpause $(docker ps -q)")

    result = run(
        """
    steps:
      - {name: begins, run: "true"}
      - {name: hangs, timeout: 4, run: sleep 2227}
    """,
        on_step=on_step,
    )
    said = "the command did not end in 4 seconds and could not be killed and may still run ("
    assert message(result, "hangs").startswith(said)
    assert "paused" in message(result, "hangs")


def test_stdin_script_and_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "tool").write_text("#!/bin/sh\necho tool $1\n")
    (tmp_path / "tree" / "tool").chmod(0o755)
    large = bytes(range(256)) * 4096
    (tmp_path / "large").write_bytes(large)
    result = run(f"""
    files:
      /srv/text: "no newline"
      /srv/secret: {{content: x, mode: "600"}}
      /srv/bytes: {{base64: {base64.b64encode(bytes(range(256))).decode()}}}
      /srv/tree: {{file: tree}}
      /srv/large: {{file: large}}
    steps:
      - {{name: text, run: cat /srv/text, expect: {{stdout: no newline}}}}
      - {{name: bytes, run: wc -c < /srv/bytes, expect: {{stdout: "256"}}}}
      - {{name: folder, run: [/srv/tree/tool, a b], expect: {{stdout: tool a b}}}}
      - name: stdin
        run: cat; cat
        stdin: "one\\ntwo\\n"
        expect: {{stdout: "one\\ntwo"}}
      - name: stdin of a file
        run: cmp - /srv/large
        stdin: {{file: large}}
      - name: stdin of bytes
        run: [cmp, -, /srv/bytes]
        stdin: {{base64: {base64.b64encode(bytes(range(256))).decode()}}}
      - name: no stdin
        run: cat
        expect: {{stdout: ""}}
      - name: script with words
        interpreter: [sh, -x]
        script: |
          echo $0; read line; echo $line
        stdin: read
        expect:
          stdout: {{matches: "^read$"}}
          stderr: {{contains: + echo read}}
      - name: files
        run: "true"
        expect:
          files:
            /srv/text: no newline
            /srv/secret: {{mode: "0600", equals: x}}
            /srv/tree/tool: {{mode: "755", contains: echo}}
            /srv/tree: {{mode: "0755"}}
            /srv/none: {{exists: false}}
    """)
    assert result.passed, [step.message for step in result.failed]


def test_files_that_differ(run: Run) -> None:
    result = run("""
    files: {/srv/text: text, /srv/json: '{"a": [1, 2]}'}
    steps:
      - name: all wrong
        run: mkdir /srv/folder; ln -s /nowhere /srv/link
        expect:
          files:
            /srv/text: {equals: other, mode: "0600"}
            /srv/json: {json: {path: "$.a[1]", equals: 3}}
            /srv/folder: {contains: x}
            /srv/link: {contains: x}
            /srv/none: {}
            /etc/passwd: {exists: false}
    """)
    assert message(result, "all wrong").splitlines() == [
        "/srv/text: expected mode 0600, but it is 0644",
        "/srv/text: expected 'other', but it is 'text'",
        "/srv/json, $.a[1]: expected 3, but it is 2",
        "/srv/folder: expected a file, but it is a folder",
        "/srv/link: expected to exist, but it does not",
        "/srv/none: expected to exist, but it does not",
        "/etc/passwd: expected not to exist, but it does",
    ]


def test_messages_are_fit_for_reports(run: Run) -> None:
    """Messages have no secret of LISA's and no character that XML forbids."""
    secret.add_secret("very-hidden")
    result = run("""
    steps: [{name: tells, run: 'printf "very-hidden\\\\t\\\\001\\\\033[1m\\\\377ä\\\\n|"; exit 1'}]
    """)
    said = message(result, "tells")
    assert "very-hidden" not in said
    assert said.startswith("exit code: expected 0, but it is 1\nstdout was:\n")
    assert said.endswith("\t\\x01\ufffdä\n|")
    element = ElementTree.Element("failure", message=said)
    assert ElementTree.fromstring(ElementTree.tostring(element)).get("message") == said


def test_no_shell(run: Run, no_shell: str) -> None:
    result = run(f"""
    container: {{image: {no_shell}}}
    files: {{/srv/x: text}}
    steps:
      - {{name: words, run: [cat, /srv/x], expect: {{stdout: text, files: {{/srv/x: text}}}}}}
      - {{name: text, run: cat /srv/x}}
      - {{name: script, always: true, script: cat /srv/x}}
    """)
    assert list(statuses(result).values()) == ["passed", "failed", "failed"]
    assert "no shell. Give 'run' as a list of words" in message(result, "text")
    assert "the script could not be written" in message(result, "script")


# --- groups -----------------------------------------------------------------------------------


def test_group(run: Run) -> None:
    """Parallel steps share a context, which they do not change; one failure stops no other step."""
    result = run("""
    steps:
      - {name: before, run: mkdir /tmp/meet; cd /tmp/meet; export A=1}
      - parallel:
        # Each waits for the other.
        - {name: one, timeout: 20, run: 'touch 1; while [ ! -e 2 ]; do sleep 0.1; done; export A=2; cd /'}
        - {name: two, timeout: 20, run: 'touch 2; while [ ! -e 1 ]; do sleep 0.1; done; echo $A', expect: {stdout: "1"}}
        - {name: fails, run: exit 1}
        - {name: hangs, run: sleep 2223, timeout: 1}
        - {name: alone, isolated: true, run: '[ ! -e /tmp/meet ]'}
      - {name: after, always: true, run: 'echo $A $PWD', expect: {stdout: 1 /tmp/meet}}
      - parallel:
        - {name: skipped, run: "true"}
        - {name: always, always: true, run: "true"}
    """)
    assert statuses(result) == {
        "before": "passed",
        "one": "passed",
        "two": "passed",
        "fails": "failed",
        "hangs": "failed",
        "alone": "passed",
        "after": "passed",
        "skipped": "skipped",
        "always": "passed",
    }
    assert message(result, "skipped") == "step 'fails' failed"


# --- the end of a case ------------------------------------------------------------------------


class EndOfCase(BaseException):
    """Exception like LISA's for a case whose time is up: no `Exception` either."""


@pytest.mark.parametrize(
    "step",
    [
        "{name: hangs, run: sleep 2224}",
        "{parallel: [{name: hangs, run: sleep 2224}, {name: too, run: sleep 2224}]}",
        "{name: hangs, isolated: true, run: sleep 2224}",
    ],
)
def test_end_of_the_case(
    step: str, write: Write, node: Node, machine: SandboxNode, tmp_path: Path
) -> None:
    """The end of a case kills commands, runs clean-up, keeps artifacts, removes containers."""
    plan = write(f"""
    container: {{image: lisa_container/busybox, volumes: {{/root/plan: /plan}}}}
    steps:
      - {{name: makes, run: echo made > /tmp/log}}
      - {step}
    cleanup:
      - {{name: cleans, run: rm /tmp/log; ps -o args > /plan/log}}
    artifacts: [/tmp/log]
    """)
    raised: list[BaseException] = []
    results: list[PlanResult] = []

    def case() -> None:
        try:
            results.append(run_plan(plan, node, tmp_path / "kept"))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=case)
    thread.start()
    eventually(lambda: processes(machine, "sleep 2224"), 60)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(EndOfCase)
    )
    thread.join(60)
    assert not thread.is_alive() and results == []
    assert [type(error) for error in raised] == [EndOfCase]
    assert (tmp_path / "kept" / "files" / "tmp" / "log").read_text() == "made\n"
    seen = machine.run("cat /root/plan/log; rm -r /root/plan").stdout
    assert "ps -o args" in seen and "sleep 2224" not in seen
    eventually(lambda: not processes(machine, "sleep 2224"))
    eventually(lambda: machine.run(["docker", "ps", "-aq"]).stdout == "")


# --- artifacts --------------------------------------------------------------------------------


def test_artifacts(run: Run, tmp_path: Path) -> None:
    """Artifacts of a failed plan are kept, and a missing one is a warning."""
    result = run(
        """
    artifacts: [/srv/*.log, /srv/folder, /srv/a b, /srv/none, "/srv/[x]*"]
    steps:
      - name: makes
        run: |
          mkdir -p /srv/folder/deep && cd /srv
          echo 1 > one.log; echo 2 > "two .log"; echo 3 > folder/deep/file
          chmod 600 one.log; ln -s one.log link.log; ln -s /nowhere broken.log; echo x > "a b"
      - {name: fails, run: exit 1}
    """,
        folder=tmp_path / "kept",
    )
    assert list(statuses(result).values()) == ["passed", "failed"]
    folder = tmp_path / "kept" / "files" / "srv"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"one.log", "two .log", "link.log", "a b", "folder/deep/file"}
    assert (folder / "link.log").read_text() == "1\n"
    assert {path.name for path in result.artifacts} == {
        *("one.log", "two .log", "link.log", "a b", "file"),
    }
    warnings = "\n".join(result.warnings)
    assert "nothing to collect at '/srv/none'" in warnings
    assert "nothing to collect matches '/srv/[x]*'" in warnings
    assert "broken.log" in warnings
    assert len(result.warnings) == 3


def test_under_the_lease(write: Write, node: Node) -> None:
    """The containers of a plan and of an isolated step belong to the run's lease."""
    from lisa_container import DockerAdvanced

    plan = write("""
    steps: [{name: alone, isolated: true, run: "true"}]
    """)
    engine = node.tools[DockerAdvanced].engine
    seen: list[int] = []
    run_plan(
        plan,
        node,
        on_step=lambda _: seen.append(
            len([x for x in list_resources(engine) if x.what == "container"])
        ),
    )
    assert seen == [1]
    assert not [x for x in list_resources(engine) if x.what == "container"]
