"""Normalisation: real tools' output, hostile input, and rules of the user's own."""

from __future__ import annotations

import doctest
import importlib
import io
import re
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lisa_container.errors import ConfigError
from lisa_container.snapshots import normalise as package
from lisa_container.snapshots.normalise import (
    BUILT_IN,
    FunctionRule,
    PatternRule,
    Rule,
    RuleSet,
    default_rules,
    normalise,
    set_default_rules,
)
from lisa_container.snapshots.normalise.placeholders import TOKEN
from tests.support.soak import amount

OUTPUTS = Path(__file__).parent / "outputs"
RULES = sorted((Path(package.__file__).parent / "rules").glob("[a-z]*.py"))

# --- the examples in the code


def _examples(module: ModuleType) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder().find(module, extraglobs={"normalise": normalise})
    return [each for each in found if each.examples]


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_examples_of_each_rule(file: Path) -> None:
    module = importlib.import_module(f"{package.__name__}.rules.{file.stem}")
    (examples,) = _examples(module)
    # LISA's log has taken the place of stdout.
    with redirect_stdout(io.StringIO()):
        report: list[str] = []
        result = doctest.DocTestRunner().run(examples, out=report.append)
    assert result.failed == 0, "".join(report)
    # Without this rule, the first example has another result.
    name = BUILT_IN.only(file.stem).names[0]
    source = "".join(each.source for each in examples.examples)
    assert eval(source.split("\n")[0], {"normalise": normalise}) != eval(
        source.split("\n")[0], {"normalise": lambda text: normalise(text, BUILT_IN.without(name))}
    )


def test_every_rule_has_a_file() -> None:
    assert sorted(BUILT_IN.names) == [file.stem for file in RULES]


# --- what tools print


def _samples(number: int) -> list[str]:
    return sorted(file.name[:-6] for file in OUTPUTS.glob(f"*.{number}.txt"))


@pytest.mark.parametrize("tool", _samples(1))
def test_output_of_a_tool(tool: str) -> None:
    """Two outputs of one tool, from a file or a terminal, have one normal form."""
    expected = (OUTPUTS / f"{tool}.expected.txt").read_text(encoding="utf-8")
    assert normalise((OUTPUTS / f"{tool}.1.txt").read_bytes()) == expected


@pytest.mark.parametrize("tool", _samples(2))
def test_two_runs_of_a_tool_are_the_same(tool: str) -> None:
    first, second = ((OUTPUTS / f"{tool}.{x}.txt").read_bytes() for x in (1, 2))
    assert first != second
    assert normalise(first) == normalise(second)


@pytest.mark.parametrize(
    "text",
    [
        "hello (2.10-3 Debian:12.15/oldstable [amd64])",
        "package 2:8.2.3995-1ubuntu2.3 and 1:2.38.1-5+deb12u1",
        "usage: run [-h] [--size 1024x768] 80/tcp 8080:80 0755 1234567 100000000",
        "Python 3.11.7, gcc (Debian 12.2.0-14) 12.2.0, kernel 6.1.0-18-amd64",
        "std::vector<int> a::b path::face exit code 137, 3 of 5 passed, 99.5%",
        "127.0.0.1 0.0.0.0:80 ::1 [::]:22 00:00:00:00:00:00 /tmp /etc/tmp/x ~/tmp/y",
        "root:x:0:0:root:/root:/bin/bash daemon:x:1:1",
        "3 NS records, 5 US dollars, 10 MS, 7 pages, 2 items",
        "main.c:12:34: error: 'defaced' was not declared, 0x1f 0xdead",
        "<b>bold</b> <time> <ip 3> <unknown 1>",
        "########## heading ##########\n[=====]\n━━━━━━━━\n",
        "ssh-ed25519 (ED25519) x 1024 2048 4096 1e10000000 facade effaced",
    ],
)
def test_text_that_no_run_changes_stays(text: str) -> None:
    assert normalise(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # docker pull on a terminal
        (
            "1f2e: Waiting \r\n3d4c: Waiting \r\n\x1b[2A\x1b[2K\r1f2e: Pull complete \r\x1b[2B"
            "\x1b[1A\x1b[2K\r3d4c: Pull complete \r\x1b[1BDone\r\n",
            "1f2e: Pull complete\n3d4c: Pull complete\nDone\n",
        ),
        ("a\x1b[2Jb\x1b[Hc", "c"),
        ("abc\x1b[1Gx", "xbc"),
        ("abc\x1b[2Dx\x1b[K", "ax"),
        ("abc\x1b[1Kx", "   x"),
        ("N\x08NA\x08AME", "NAME"),
        ("a\x1b[3Cb", "a   b"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "textlink"),
        ("one\r\r\ntwo", "one\ntwo"),
        ("x\x1b[10;20H!", "x                  !"),
        ("a\nb\nc\x1b[2F\x1b[Jd", "d"),
        ("a\nb\x1b[99A\x1b[1E!", "a\n!"),
        ("bell\x07 \x00nul", "bell nul"),
        # `tput sgr0`, and other escapes with characters in between
        ("\x1b(B\x1b[mpass\x1b(B", "pass"),
        ("\x1b)0a\x1b#8b\x1b%Gc\x1b $(Cd", "abcd"),
        ("10%\r\x1b(Bpass", "pass"),
        ("end\x1b(", "end"),
        ("\x9b31mred\x9bm", "red"),
        ("a\nb\x9b1Ac\x9bK", "ac\nb"),
    ],
)
def test_text_as_a_terminal_shows_it(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_colours_can_be_compared() -> None:
    text = "\x1b[?25l10%\r\x1b[32mok\x1b[0m  \x1b[K\n\x1b[31mbad\x1b[m\n"
    kept = normalise(text, BUILT_IN.without("ansi"))
    assert kept == "\x1b[32mok\x1b[0m\n\x1b[31mbad\x1b[m\n"
    assert normalise(text) == "ok\nbad\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2 10.0.0.1 10.0.0.2", "<ip 1> <ip 2> <ip 1>"),
        ("FE80:0::1 fe80::1", "<ip 1> <ip 1>"),
        # Numbers go on behind those that are there, so that two things never get to be one.
        ("<ip 7> 10.0.0.2", "<ip 7> <ip 8>"),
        ("aa11bb22cc33 aa11bb22cc33dd44ee55 aa11bb2", "<id 1> <id 1> <id 1>"),
        # Only figures, or only letters: an id where the long one is there, or where git puts it.
        (f"1234567 1234567{'a' * 33}", "<id 1> <id 1>"),
        ("index 1234567..abcdefa 100644", "index <id 1>..<id 2> 100644"),
        ("[1f1f338 158fd1d", "[<id 1> <id 2>"),
        ("[1f1f338 1234567] x", "[<id 1> <id 2>] x"),
        ("[a/1f1f338-x 158fd1d] [main 7654321]", "[a/<id 1>-x <id 2>] [main <id 3>]"),
        ("<td>10.0.0.1</td>", "<td><ip 1></td>"),
        ("sha256:" + "ab12" * 16, "sha256:<id 1>"),
        ("up 10 days, 3:04", "up <duration>, 3:04"),
        ("file:///tmp/a.b/c", "file://<tmp 1>/c"),
        ("see /tmp/x.log.", "see <tmp 1>."),
        ("10.0.0.1: refused; fe80::1: refused", "<ip 1>: refused; <ip 2>: refused"),
        ("2026-11-28T01:02:03+05:30 12:00", "<timestamp> <time>"),
    ],
)
def test_numbers_and_edges(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_bytes_that_are_no_text() -> None:
    assert normalise(b"\xff 10.0.0.1") == "\N{REPLACEMENT CHARACTER} <ip 1>"
    assert normalise("\ud800 10.0.0.1") == "? <ip 1>"


# --- anything at all

# Pieces of what rules look for, so that chance puts them beside each other.
_PIECES = st.sampled_from(
    [
        *(
            "10.0.0.1",
            "fe80::1",
            "::",
            ":",
            ".",
            "-",
            "+",
            "/tmp/",
            "/var/tmp/a",
            "aa:bb:cc:dd:ee:ff",
        ),
        *("2026-11-28", "T", "01:02:03", "12:30", ".5", "Nov 28", " 2026", "Sat ", "UTC", "+0000"),
        *(
            "3b1f8a52-9c1d-4f7e-8a6b-0d2c4e6f8a90",
            "0x7f3a5c0d2e50",
            "deadbee1",
            "1234567",
            "a1b2c3d",
        ),
        *(
            "[",
            "]",
            "12.345678",
            "pid ",
            "42",
            "port ",
            "48765",
            "localhost:",
            "1.5",
            " MB/s",
            "s",
            "ms",
        ),
        *(
            "about a ",
            "minute",
            " ago",
            "a ",
            "1h",
            "2m",
            "[===>",
            "  ]",
            " 45%",
            "##########",
            "━━━━━",
        ),
        *(
            "<ip 1>",
            "<time>",
            "<",
            ">",
            " ",
            "\n",
            "\r",
            "\x08",
            "\x1b",
            "\x1b[1A",
            "\x1b[K",
            "\x1b[31m",
        ),
        *(
            "\x1b]0;",
            "\x07",
            "index ",
            "..",
            "commit ",
            "SHA256:",
            "veth1234567",
            "\U0010fe00",
            "\U0010fe01",
        ),
        *("\x1b[5C", "\x1b[2J", "\t", "~", "_", "v", "=", "(", ")", "%|", "| 1/2 [", "100  1831"),
    ]
)
_TEXTS = st.one_of(
    st.lists(st.one_of(_PIECES, st.text(max_size=3)), max_size=25).map("".join),
    st.text(alphabet="0123456789abcdef:.-[]/ \r\n\x08\x1bAKT<>", max_size=60),
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["1f1f338", "e.c2d989", "189:151", "183a7:", "commit ", *":[]%/- .0123abdf"]
        ),
        max_size=30,
    ).map("".join),
)


@pytest.mark.soak
@settings(max_examples=amount(1500, 200), deadline=None, suppress_health_check=list(HealthCheck))
@given(_TEXTS)
@example("\x1b\x1b[m[m")
@example("a \x1b[0m")
@example("e.c2d989/<id 1>-a]82%1.d4aaa/:a6[07%a 189:151[183a7:/df/%3d%")
@example("[1f1f338 158fd1d")
@example("a\x1b(\x1b(B")
def test_once_is_enough(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert not re.search(f"[{TOKEN}\x1b\r\x08]", once)


@pytest.mark.soak
@settings(max_examples=amount(300, 60), deadline=None, suppress_health_check=list(HealthCheck))
@given(_TEXTS, st.sets(st.sampled_from(BUILT_IN.names)))
def test_any_rules_are_enough_once(text: str, names: set[str]) -> None:
    rules = BUILT_IN.only(*names)
    once = normalise(text, rules)
    assert normalise(once, rules) == once


@pytest.mark.parametrize(
    "thing",
    [
        *("10.0.0.1", "fe80::1", "/tmp/a", "3b1f8a52-9c1d-4f7e-8a6b-0d2c4e6f8a90", "deadbee1"),
        *("02:42:ac:11:00:02", "2026-11-28T01:02:03", "2026-11-28", "12:30:01", "250 ms", "5 MB/s"),
        *("0x7f3a5c0d2e50", "veth1234567", "port 48765", "localhost:48765", "pid 42"),
    ],
)
@pytest.mark.parametrize("form", ["x{}", "{}x", "x{}x", "{}.x", "{}-x", "{}:x", "x-{}"])
def test_placeholder_is_no_end_of_a_word(thing: str, form: str) -> None:
    """A rule sees a neighbour's placeholder as it would see the neighbour."""
    rules = RuleSet([*BUILT_IN, PatternRule("mark", "x")])
    once = normalise(form.format(thing), rules)
    assert normalise(once, rules) == once


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "a",
            "1",
            ".",
            ":",
            "1.",
            "1:",
            "a:",
            "-",
            "/",
            "[",
            "[=",
            "=",
            "#",
            "━",
            " ",
            "\r",
            "\x08",
        ),
        *(
            "\x1b",
            "\x1b[",
            "\x1b]",
            "\x1b[1A",
            "\x1b[9C",
            "\x1b[31m",
            "\x1b[2J",
            "x\x1b[A",
            "\n\x1b[A",
        ),
        *(
            "/tmp/",
            "pid ",
            "2026-",
            "Nov 28 ",
            "1 h",
            "a1",
            "[a ",
            "[1",
            "12%|",
            "..",
            "<ip 1>",
            "<",
        ),
        *(
            "about ",
            "deadbee1 ",
            "10.0.0.1 ",
            "1h",
            "1m",
            "\n",
            "100 1 1 ",
            "\t",
            "\U0010fe01",
            "0x",
        ),
    ],
    ids=repr,
)
def test_hostile_input_takes_no_longer(piece: str) -> None:
    """100 kB of repeated text take a few seconds at most, without backtracking."""
    started = time.process_time()
    normalise(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 3


def test_a_large_output() -> None:
    line = "[18096.013378] docker0: 10.0.0.{} pid {} took 0.{}s, wrote /tmp/tmp.{:06x}/log\n"
    text = "".join(line.format(x % 255, x, x, x) for x in range(20_000))
    started = time.process_time()
    result = normalise(text)
    assert result.count("<uptime>") == 20_000
    assert "<tmp 20000>" in result
    assert time.process_time() - started < 10


def test_a_cursor_sent_far_away_takes_no_memory() -> None:
    assert len(normalise("\x1b[999999999Cx")) == 501
    assert normalise("\x1b[999999999Bx") == "x"
    assert normalise(f"\x1b[{'9' * 5000}Dx") == "x"


# --- rules of one's own


def test_rules_of_ones_own() -> None:
    build = PatternRule("build", r"build-(?P<value>\d+)")
    session = PatternRule("session", r"sess_\w+", numbered=True, keep=["sess_main"])
    upper = FunctionRule("loud", lambda text: text.replace("ok", "OK"))
    rules = BUILT_IN.plus(build, session, upper)
    assert normalise("build-42 sess_b sess_a sess_b sess_main ok 10.0.0.1", rules) == (
        "build-<build> <session 1> <session 2> <session 1> sess_main OK <ip 1>"
    )
    # Behind what makes out what is seen, before all else.
    assert rules.names[:6] == ("terminal", "ansi", "blanks", "build", "session", "loud")
    assert normalise("\x1b[1mbuild-\x1b[0m7", rules) == "build-<build>"


def test_a_function_sees_placeholders_as_they_are_written() -> None:
    seen: list[str] = []

    def look(text: str) -> str:
        seen.append(text)
        return text.replace("<ip 1>", "<ip 1>!")

    rules = RuleSet([*BUILT_IN, FunctionRule("look", look)])
    assert normalise("10.0.0.1 10.0.0.2", rules) == "<ip 1>! <ip 2>"
    assert seen == ["<ip 1> <ip 2>"]


def test_a_rule_can_share_a_placeholder() -> None:
    rules = BUILT_IN.plus(PatternRule("node", r"node-[a-z]+", placeholder="ip", numbered=True))
    assert normalise("10.0.0.1 node-a 10.0.0.1", rules) == "<ip 2> <ip 1> <ip 2>"


def test_rules_can_be_left_out() -> None:
    text = "10.0.0.1 at 01:02:03 on 2026-11-28"
    assert normalise(text, BUILT_IN.without("ip")) == "10.0.0.1 at <time> on <date>"
    assert normalise(text, BUILT_IN.only("ip")) == "<ip 1> at 01:02:03 on 2026-11-28"
    assert normalise(text, RuleSet()) == text


def test_default_rules() -> None:
    before = set_default_rules(BUILT_IN.without("ip"))
    try:
        assert before is BUILT_IN
        assert normalise("10.0.0.1 12:00:00") == "10.0.0.1 <time>"
        assert default_rules().names == BUILT_IN.without("ip").names
    finally:
        set_default_rules(before)
    assert normalise("10.0.0.1") == "<ip 1>"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: BUILT_IN.without("tmie"), "did you mean 'time'"),
        (lambda: BUILT_IN.only("nothing"), "given 'nothing'; legal: terminal, ansi"),
        (lambda: BUILT_IN.plus(PatternRule("ip", "x")), "'ip' twice.*without\\('ip'\\)"),
        (lambda: RuleSet(["ip"]), "given 'ip'; legal: a PatternRule"),
        (lambda: PatternRule("Bad Name", "x"), "given 'Bad Name'; legal: up to 40"),
        (lambda: PatternRule("x", "y", placeholder="<y>"), "given '<y>'"),
        (lambda: PatternRule("x", "("), r"rule 'x', pattern: given '\('.*unterminated"),
        (lambda: PatternRule("x", b"y"), "cannot use a bytes pattern"),
        (lambda: PatternRule("x", "y*"), "does not match the empty string"),
        (lambda: FunctionRule("x", "y"), "given 'y'; legal: a function"),
        (
            lambda: normalise("", BUILT_IN.plus(FunctionRule("x", lambda _: None))),
            "returned NoneType",
        ),
        (lambda: normalise("", ["ip"]), "legal: a RuleSet"),
        (lambda: set_default_rules(None), "legal: a RuleSet"),
    ],
)
def test_errors_of_wrong_arguments(wrong: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wrong()


def test_a_rule_from_scratch() -> None:
    class Nothing(Rule):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing has no apply\(\)"):
        normalise("x", RuleSet([Nothing("nothing")]))
