"""Plans in files: valid plans, and each mistake with its line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lisa_container import ConfigError, PlanError
from lisa_container.plan import Group, Plan, Step, find_plans, load_plan, load_plans
from lisa_container.plan.context import Context, wrap_command, wrap_environment
from lisa_container.plan.expect import find_differences
from lisa_container.plan.model import FileCheck, JsonCheck, TextCheck
from lisa_container.plan.rules import NOT_GIVEN
from tests.support import programs
from tests.support.programs import CLI

ROOT = Path(__file__).parents[2]

MINIMAL = """\
container: {image: debian}
steps:
  - {name: one, run: pwd}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tested.yml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(PlanError) as caught:
        load_plan(written(tmp_path, text))
    return caught.value.mistakes


# --- right ------------------------------------------------------------------------------------


def test_minimal(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, MINIMAL))
    assert (plan.name, plan.container.image, plan.shell) == ("tested", "debian", "sh")
    (step,) = plan.steps
    assert isinstance(step, Step)
    assert (step.run, step.timeout, step.exit_codes) == ("pwd", 600.0, (0,))
    assert (plan.tools, plan.files, plan.setup, plan.cleanup, plan.artifacts) == (
        (),
        {},
        (),
        (),
        (),
    )


def test_everything(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tool.tar.gz").write_bytes(b"x")
    text = """\
name: all
description: what there is
container: {image: debian, memory: null, environment: {A: 1, B: true}}
tools: [jq, {name: hello, file: data/tool.tar.gz}]
shell: bash
files:
  /a: text
  //b/../c: {base64: AAE=, mode: "755"}
  /d: {file: data}
setup:
  - {name: before, script: "print(1)", interpreter: python3 -u}
steps:
  - &first
    name: one
    run: [echo, "a b"]
    stdin: {file: data/tool.tar.gz}
    cwd: /tmp/
    user: nobody
    timeout: 1.5
    exit_code: [0, 1]
    expect:
      stdout: whole
      stderr: {contains: [a, b], not_contains: c, matches: ^x$, not_matches: [y]}
      files: {/tmp/x: {json: {path: $.a, equals: null}}, /tmp/y: {exists: no}}
  - parallel:
    - {<<: *first, name: two}
    - {name: three, run: x, signal: 9, isolated: yes, shell: /bin/dash}
cleanup: [{name: after, run: rm x, environment: {N: 3}, always: true}]
artifacts: [/tmp/*]
"""
    plan = load_plan(written(tmp_path, text))
    assert plan.container.environment == {"A": "1", "B": "true"}
    assert [tool.name for tool in plan.tools] == ["jq", "hello"]
    assert plan.tools[1].file == str(tmp_path / "data" / "tool.tar.gz")
    assert list(plan.files) == ["/a", "/c", "/d"]
    assert (plan.files["/c"].data, plan.files["/c"].mode) == (b"\0\1", "0755")
    assert plan.files["/d"].file == str(tmp_path / "data")
    one, group = plan.steps
    assert isinstance(one, Step) and isinstance(group, Group)
    assert (one.run, one.cwd, one.exit_codes) == (("echo", "a b"), "/tmp", (0, 1))
    assert one.expect.stdout == TextCheck(equals="whole")
    assert one.expect.files["/tmp/x"].json == (JsonCheck("$.a", equals=None),)
    assert one.expect.files["/tmp/y"] == FileCheck(exists=False)
    two, three = group.parallel
    assert (two.run, two.name) == (one.run, "two")
    assert (three.exit_codes, three.isolated) == ((137,), True)
    assert plan.setup[0].interpreter == ("python3", "-u")  # type: ignore[union-attr]
    assert [step.name for step in plan.all_steps()] == ["before", "one", "two", "three", "after"]


@pytest.mark.parametrize("path", sorted((ROOT / "testsuites" / "plans").glob("*.yml")))
def test_those_of_the_suite(path: Path) -> None:
    assert load_plan(path).name == path.stem


# --- wrong ------------------------------------------------------------------------------------


def test_all_at_once(tmp_path: Path) -> None:
    """An error lists all mistakes in the order of the file."""
    text = """\
nam: x
container:
  image: Debian
  memroy: 1g
tools: [jq, {name: rg, verison: 1}]
files:
  data: x
steps:
  - name: one
    run: pwd
    expect:
      stdout: {contians: x}
  - name: one
    run: x
    exit_code: 300
"""
    found = mistakes(tmp_path, text)
    assert [line for line, _ in found] == [1, 3, 4, 5, 7, 12, 13, 15]
    assert all("legal: " in reason for _, reason in found)
    with pytest.raises(ConfigError) as caught:
        load_plan(tmp_path / "tested.yml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(found)
    assert lines[5] == (
        f"{tmp_path}/tested.yml:12: steps[0].expect.stdout, unknown field: given "
        "'contians'; did you mean 'contains'? (legal: equals, contains, not_contains, matches, "
        "not_matches, json)"
    )


@pytest.mark.parametrize(
    ("part", "line", "says"),
    [
        ("name: a b", 4, "name: given 'a b'"),
        ("description: 3", 4, "description: given 3"),
        ("tools: jq", 4, "tools: given 'jq'; legal: a list of tools"),
        ("tools: [3]", 4, "a name, or a mapping of fields"),
        ("tools: [{name: x, file: none}]", 4, "tools[0].file: there is no file"),
        ("files: [x]", 4, "files: given ['x']; legal: a mapping"),
        ("files: {/x: 3}", 4, "files['/x']: given 3"),
        ("files: {/x: {content: a, file: .}}", 4, "2 of content, base64 and file are given"),
        ("files: {/x: {mode: '0644'}}", 4, "0 of content, base64 and file are given"),
        ("files: {/x: {content: a, mode: '9'}}", 4, "mode: given '9'"),
        ("files: {/x: {content: a, mode: 0644}}", 4, "in quotes"),
        ("files: {/x: {file: ., mode: '0644'}}", 4, "keeps its own mode"),
        ("files: {/x: {base64: a}}", 4, "base64: it cannot be decoded"),
        ("files: {/x: a, /y/../x: b}", 4, "'/x' is given twice"),
        ("artifacts: [x]", 4, "artifacts: given 'x'"),
        ("artifacts: /x", 4, "artifacts: given '/x'; legal: a list of absolute paths"),
        ("shell: fi sh", 4, "shell: given 'fi sh'; legal: a POSIX shell"),
        ("setup: {name: x}", 4, "legal: a list of steps"),
        ("cleanup:", 4, "cleanup: the value is missing"),
        ("setup: [x]", 4, "setup[0]: given 'x'; legal: a mapping"),
        ("setup: [{name: one, run: x}]", 4, "two steps have the name 'one', the other in line 3"),
        ("setup: [{name: prepare, run: x}]", 4, "other than 'prepare'"),
        ("setup: [{run: x}]", 4, "setup[0]: 'name' is missing"),
        ("setup: [{name: x}]", 4, "run, script: neither is given"),
        ("setup: [{name: x, run: y, script: z}]", 4, "run, script: both are given"),
        ("setup: [{name: x, run: ''}]", 4, "run, script: neither is given"),
        ("setup: [{name: x, run: []}]", 4, "run, script: neither is given"),
        ("setup: [{name: x, run: true}]", 4, "setup[0].run: given True"),
        ("setup: [{name: x, run: [false]}]", 4, "setup[0].run[0]: given False; legal: a string (put"),
        ("setup: [{name: x, run: ['', a]}]", 4, "setup[0].run: given ['', 'a']"),
        ("setup: [{name: x, run: no}]", 4, "setup[0].run: given False"),
        ("setup: [{name: x, run: ' '}]", 4, "setup[0].run: given ' '"),
        ("setup: [{name: x, run: [a, 3]}]", 4, "setup[0].run[1]: given 3"),
        ("setup: [{name: x, run: y, interpreter: z}]", 4, "interpreter: legal only with 'script'"),
        ("setup: [{name: x, run: [y], shell: z}]", 4, "shell: legal only with a 'run'"),
        ("setup: [{name: x, script: y, shell: z}]", 4, "'script' has an 'interpreter'"),
        ("setup: [{name: x, run: y, stdin: 3}]", 4, "setup[0].stdin: given 3"),
        ("setup: [{name: x, run: y, stdin: {file: .}}]", 4, "is a folder; legal: a file"),
        ("setup: [{name: x, run: y, stdin: {content: a, mode: '0644'}}]", 4, "'mode'"),
        ("setup: [{name: x, run: y, environment: {A=B: x}}]", 4, "a name without '='"),
        ("setup: [{name: x, run: y, cwd: tmp}]", 4, "setup[0].cwd: given 'tmp'"),
        ("setup: [{name: x, run: y, user: 'a b'}]", 4, "setup[0].user: given 'a b'"),
        ("setup: [{name: x, run: y, timeout: 0}]", 4, "a number of seconds above 0"),
        ("setup: [{name: x, run: y, exit_code: '0'}]", 4, "exit_code: given '0'"),
        ("setup: [{name: x, run: y, signal: TREM}]", 4, "did you mean 'SIGTERM'?"),
        ("setup: [{name: x, run: y, signal: 9, exit_code: 3}]", 4, "signal, exit_code: both"),
        ("setup: [{name: x, run: y, isolated: maybe}]", 4, "true or false"),
        ("setup: [{name: x, run: y, expect: {stdout: 3}}]", 4, "in quotes if needed"),
        ("setup: [{name: x, run: y, expect: {stdout: {}}}]", 4, "the check is empty"),
        ("setup: [{name: x, run: y, expect: {stdout: {matches: '('}}}]", 4, "unterminated"),
        ("setup: [{name: x, run: y, expect: {stdout: {contains: [3]}}}]", 4, "contains[0]: given 3"),
        ("setup: [{name: x, run: y, expect: {exit: 0}}]", 4, "legal: stdout, stderr, files"),
        ("setup: [{name: x, run: y, expect: {files: {x: {}}}}]", 4, "an absolute path"),
        ("setup: [{name: x, run: y, expect: {files: {/x: {exists: no, mode: '0644'}}}}]", 4, "legal only alone"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {path: a}}}}]", 4, "begins with '$'"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {path: '$['}}}}]", 4, "RFC 9535"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {equals: 3}}}}]", 4, "'path' is missing"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {path: $, equals: 2026-01-01}}}}]", 4, "put a date in quotes"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {path: $, count: -1}}}}]", 4, "at least 0"),
        ("setup: [{name: x, run: y, expect: {stdout: {json: {path: $, exists: no, count: 1}}}}]", 4, "legal only alone"),
        ("setup: [{parallel: []}]", 4, "the group has no steps"),
        ("setup: [{parallel: x}]", 4, "legal: a list of steps"),
        ("setup: [{parallel: [{name: x, run: y}], name: z}]", 4, "a group has only 'parallel'"),
        ("setup: [{parallel: [{parallel: [{name: x, run: y}]}]}]", 4, "unknown field: given 'parallel'"),
        ("3: x", 4, "plan, key: given 3; legal: a string"),
        ("steps: []", 4, "'steps' is given twice, first in line 2"),
        ("name: [", 5, "YAML: "),
        ("name: 'x", 5, "YAML: "),
        ("name: !!python/object:os.system x", 4, "YAML: could not determine a constructor"),
        ("setup: &a [*a]", 4, "an alias is inside its own anchor"),
        ("--- x", 4, "YAML: "),
    ],
)  # fmt: skip
def test_one(part: str, line: int, says: str, tmp_path: Path) -> None:
    found = mistakes(tmp_path, f"{MINIMAL}{part}\n")
    assert any(says in reason and at == line for at, reason in found), found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("# nothing", "the file is empty"),
        ("x", "plan: given 'x'; legal: a mapping of name, container"),
        ("steps: [{name: x, run: y}]", "'container' is missing"),
        ("container: {image: x}", "'steps' is missing"),
        ("container: {image: x}\nsteps: []", "steps: the list is empty"),
        ("container: {}\nsteps: [{name: x, run: y}]", "container: 'image' is missing"),
        ("container: x\nsteps: [{name: x, run: y}]", "container: given 'x'"),
        ("container: {image: x, memory: 1}\nsteps: [{name: x, run: y}]", "container.memory: given"),
    ],
)
def test_whole(text: str, says: str, tmp_path: Path) -> None:
    assert any(says in reason for _, reason in mistakes(tmp_path, text))


def test_line_is_that_of_the_name(tmp_path: Path) -> None:
    text = MINIMAL + "setup:\n  - name: x\n    run: pwd\n    expect:\n      stdout:\n        {}\n"
    ((line, reason),) = mistakes(tmp_path, text)
    assert (line, reason.partition(":")[0]) == (8, "setup[0].expect.stdout")


def test_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my plan.yml"
    path.write_text(MINIMAL)
    with pytest.raises(PlanError, match=r":1: name \(of the file\): given 'my plan'"):
        load_plan(path)


def test_no_text(tmp_path: Path) -> None:
    path = tmp_path / "tested.yml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(PlanError, match="not UTF-8 text"):
        load_plan(path)
    with pytest.raises(PlanError, match=r"none\.yml: the file cannot be read: No such file"):
        load_plan(tmp_path / "none.yml")


def test_errors_have_no_values_of_an_environment(tmp_path: Path) -> None:
    text = MINIMAL.replace("image: debian", "image: debian, environment: {A: [hidden]}")
    ((line, reason),) = mistakes(tmp_path, text)
    assert line == 1 and "hidden" not in reason and "container.environment" in reason


def test_in_python() -> None:
    """A plan made in Python follows the same rules as a file."""
    with pytest.raises(ConfigError, match="timeout: given 0"):
        Step("x", run="y", timeout=0)
    with pytest.raises(ConfigError, match="two have the name 'x'"):
        config = load_plan(ROOT / "testsuites/plans/jq.yml").container
        Plan("p", config, (Step("x", run="y"), Step("x", run="z")))


# --- comparing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        ({"equals": "a"}, "a\n", []),
        ({"equals": "a\n\n"}, "a", []),
        ({"equals": "a"}, " a", ["expected 'a', but it is ' a'"]),
        ({"equals": ""}, "", []),
        ({"equals": ""}, "x", ["expected '', but it is 'x'"]),
        (
            {"equals": "a\nb"},
            "a\nc\n",
            ["differs from the expected text:\n--- expected\n+++ output\n@@ -1,2 +1,2 @@\n a\n-b\n+c"],
        ),
        ({"contains": ["a", "b"]}, "a", ["expected to contain 'b'"]),
        ({"not_contains": ["a", "b"]}, "a", ["expected not to contain 'a'"]),
        ({"matches": ["^b$", "^c"]}, "a\nb\n", ["expected to match '^c'"]),
        ({"not_matches": ["^b$", "^c"]}, "a\nb", ["expected not to match '^b$', but 'b' does"]),
        ({"equals": "a", "contains": "b"}, "c", ["expected 'a', but it is 'c'", "expected to contain 'b'"]),
    ],
)  # fmt: skip
def test_text(check: dict[str, Any], text: str, expected: list[str]) -> None:
    found = find_differences(TextCheck(**check), "stdout", text.encode())
    assert found == [f"stdout: {reason}" for reason in expected]


DOCUMENT = {"a": [{"b": 1}, {"b": "x"}], "n": None, "t": True, "f": 1.0, "e": []}


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"path": "$.a"}, []),
        ({"path": "$.none"}, ["expected a value, but there is none"]),
        ({"path": "$.none", "exists": False}, []),
        ({"path": "$.n", "exists": False}, ["expected nothing, but it is null"]),
        ({"path": "$.n", "equals": None}, []),
        ({"path": "$.t", "equals": None}, ["expected null, but it is true"]),
        ({"path": "$.none", "equals": None}, ["expected a value, but there is none"]),
        ({"path": "$.t", "equals": True}, []),
        ({"path": "$.t", "equals": 1}, ["expected 1, but it is true"]),
        ({"path": "$.f", "equals": True}, ["expected true, but it is 1.0"]),
        ({"path": "$.f", "equals": 1}, []),
        ({"path": "$.a", "equals": [{"b": 1}, {"b": "x"}]}, []),
        ({"path": "$.a", "equals": [{"b": True}, {"b": "x"}]}, ['expected [{"b": true}, {"b": "x"}], but it is [{"b": 1}, {"b": "x"}]']),
        ({"path": "$.a[*].b", "equals": [1, "x"]}, []),
        ({"path": "$.a[*].b", "equals": [1]}, ['expected [1], but it is [1, "x"]']),
        ({"path": "$.a[*].c", "equals": []}, []),
        ({"path": "$.e[*]", "count": 0}, []),
        ({"path": "$.a[*]", "count": 3}, ["expected 3 values, but there are 2"]),
        ({"path": "$.a[*].b", "matches": "^[1x]$"}, []),
        ({"path": "$.a[*].b", "matches": "x"}, ["expected to match 'x', but it is 1"]),
        ({"path": "$.a[?@.b == 'x'].b", "equals": ["x"]}, []),
    ],
)  # fmt: skip
def test_json(check: dict[str, Any], expected: list[str]) -> None:
    found = find_differences(
        TextCheck(json=(JsonCheck(**check),)), "stdout", json.dumps(DOCUMENT).encode()
    )
    assert found == [f"stdout, {check['path']}: {reason}" for reason in expected]


def test_no_json() -> None:
    check = TextCheck(json=(JsonCheck("$.a"),))
    for data in (b"{", b"", b"[" * 100_000, b"\xff"):
        (found,) = find_differences(check, "stdout", data)
        assert found.startswith("stdout: expected JSON, but it cannot be parsed: ")
    assert JsonCheck("$.a").equals is NOT_GIVEN


# --- context ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    "text",
    [
        *("exit 3", "set -e; false; echo no", "set -x; cd /; true", "cat <<EOF\nopen", "if"),
        *("echo one\necho $0 $# $1\nno_such_program", "return 4", "set -Cfu; false"),
        *("trap 'echo mine' EXIT; true", "exec sh -c 'exit 5'", "kill -9 $$", "(exit 6)"),
    ],
)
def test_shell_is_as_without(shell: str, text: str, tmp_path: Path) -> None:
    """A step has the output and exit code of `sh -c`, except for the shell's own name."""

    def run(words: list[str], environment: dict[str, str]) -> tuple[int, bytes, str]:
        done = subprocess.run(words, env=environment, capture_output=True, cwd=tmp_path)
        said = re.sub(r"(eval|-c|sh|bash|dash): ", "", done.stderr.decode())
        said = re.sub(r"^\++ ", "+ ", re.sub(r"(line )?\d+", "N", said), flags=re.M)
        return done.returncode, done.stdout.strip(), said

    plain = {"PATH": os.environ["PATH"]}
    environment = wrap_environment(plain, str(tmp_path / "state"))
    assert run(wrap_command(shell, text), environment) == run([shell, "-c", text], plain)


def test_context(tmp_path: Path) -> None:
    file = tmp_path / "state"
    odd = "a\nb=\"'c\udcff"
    environment = {"PATH": os.environ["PATH"], "GONE": "1", "OWN": "1", "ODD": odd}
    text = 'cd /; unset GONE; export NEW=1 OWN=2 PATH=/nowhere; export BACK="$ODD"; local=1'
    words = wrap_command("sh", text)
    assert str(file) not in " ".join(words), "other users can read a command line"
    subprocess.run(words, env=wrap_environment(environment, str(file)), check=True)
    assert file.stat().st_mode & 0o777 == 0o600
    after = Context("/srv", {"KEPT": "1"}, frozenset({"BEFORE"})).advance(
        file.read_bytes(), {"OWN": "1"}, has_cwd=False
    )
    assert after.cwd == "/"
    assert after.environment == {"KEPT": "1", "NEW": "1", "PATH": "/nowhere", "BACK": odd}
    assert after.unset == {"BEFORE", "GONE"}
    assert Context("/srv").advance(file.read_bytes(), {}, has_cwd=True).cwd == "/srv"
    assert after.apply_unset(["a b"])[4:] == ["BEFORE", "GONE", "=", "a b"]
    assert Context().apply_unset(["a"]) == ["a"]


# --- finding ----------------------------------------------------------------------------------


def test_find(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first / "a.yml", first / "b.yml", second / "b.yml", second / "c.yml"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(MINIMAL)
    folders = [first, second]
    a, b = first / "a.yml", first / "b.yml"
    assert find_plans("*.yml", folders) == [a, b]
    assert find_plans(" b.yml , a.yml,b.yml", folders) == [b, a]
    assert find_plans(["c.yml", str(second / "b.yml")], folders) == [
        second / "c.yml",
        second / "b.yml",
    ]
    with pytest.raises(ConfigError, match=r"given 'd\.yml'; legal: a file, from .*first', "):
        find_plans("d.yml", folders)
    for wrong in ("", " , ", [], 3, [3], None):
        with pytest.raises(ConfigError, match="plans: given"):
            find_plans(wrong, folders)
    assert [plan.name for plan in load_plans([a, b])] == ["a", "b"]
    with pytest.raises(ConfigError, match="have the same name 'b'"):
        load_plans([b, second / "b.yml"])
    a.write_text("x: 1")
    b.write_text("y: 1")
    with pytest.raises(ConfigError) as caught:
        load_plans([a, second / "c.yml", b])
    assert f"{a}:1: " in str(caught.value) and f"{b}:1: " in str(caught.value)


# --- the command ------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return programs.run(*CLI, "plan", "check", *words, folder=ROOT)


def test_command(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text(MINIMAL)
    bad.write_text(f"{MINIMAL}shel: bash\nname: a b\n")
    done = command(str(good))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{good}: ok\n", "")
    done = command(str(bad), str(good), str(tmp_path / "none.yml"))
    assert (done.returncode, done.stdout) == (1, f"{good}: ok\n")
    first, second, third = done.stderr.splitlines()
    assert first.startswith(f"{bad}:4: unknown field: given 'shel'; did you mean 'shell'? (legal: ")
    assert second.startswith(f"{bad}:5: name: given 'a b'; legal: ")
    assert third == f"{tmp_path}/none.yml: the file cannot be read: No such file or directory"
    done = command("--json", str(bad))
    (row,) = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert [mistake["line"] for mistake in row["mistakes"]] == [4, 5]
    assert command().returncode == 2
