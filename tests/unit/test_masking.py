"""Test the rule of what is secret, and the masking."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa import secret
from lisa.util.logger import get_logger

from lisa_container import masking
from lisa_container.errors import ContainerError
from lisa_container.masking import (
    KNOWN,
    MASK,
    ORDINARY_WORDS,
    SECRET_WORDS,
    SHORTEST_NUMBER,
    SHORTEST_VALUE,
    Masking,
    Plain,
    expose,
    is_distinct,
    is_secret,
    protect,
    secret_values,
    secrets_in_command,
)


@pytest.fixture(autouse=True)
def none_before() -> Iterator[None]:
    """Remove all of LISA's secrets before and after a test."""
    secret.reset()
    yield
    secret.reset()


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "db_password", "MYSQL_PWD", "API_KEY", "APIKEY", "GITHUB_TOKEN_FILE"),
        *("TOKENS", "aws-secret", "SSH_AUTH_SOCK", "MyPassword", "CREDENTIALS"),
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "PATH", "KEYBOARD", "PASSING", "AUTHOR", "MODE"])
def test_other_names(name: str) -> None:
    assert not is_secret(name)


def test_page_has_the_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "capture.md").read_text(encoding="utf-8")
    assert [word for word in SECRET_WORDS if f"`{word}`" not in page] == []
    assert [word for word in ORDINARY_WORDS if f"`{word}`" not in page] == []
    assert f"{SHORTEST_VALUE} characters" in page and f"{SHORTEST_NUMBER} digits" in page


@pytest.mark.parametrize("value", ["1", "true", "debug", "kernel", "Required", "100000", ""])
def test_ordinary_values(value: str) -> None:
    """Ordinary values are masked beside their name only."""
    assert not is_distinct(value)
    assert secret_values({"A_TOKEN": value}) == protect({value}) == frozenset()
    assert Masking().environment({"A_TOKEN": value}) == {"A_TOKEN": MASK if value else ""}


def test_secret_values() -> None:
    """Secret values are found by their names, and in URLs."""
    variables = {
        **{"A_TOKEN": "hunter2", "PIN_SECRET": "12345678", "MODE": "kernel"},
        **{"DSN": "db://me:pass%40word@h/x", "REPO": "git+ssh://git@h", "PWD": "/some/folder"},
    }
    assert secret_values(variables) == {"hunter2", "12345678", "pass%40word"}


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("A_TOKEN=hunter2 env", {"hunter2"}),
        ("export A_TOKEN='hunt er2'; ls", {"hunt er2"}),
        ("sort --key=filename x", set()),
        ("A_TOKEN=$OTHER_TOKEN B_TOKEN=$(cat /file) env", set()),
        ("A_TOKEN=kernel MODE=something env", set()),
        ("key=filename; xA_TOKEN=filename", set()),
    ],
)
def test_secrets_in_commands(command: str, values: set[str]) -> None:
    assert secrets_in_command(command) == values


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("TOKEN=abc env", "TOKEN=*** env"),
        ("TOKEN='a b' X=y env", "TOKEN=*** X=y env"),
        ('run --api-key="a b";ls', "run --api-key=***;ls"),
        ("run --api-key 'a b';ls", "run --api-key ***;ls"),
        ("run --author me --password -x", "run --author me --password ***"),
        ("curl -H 'X-Auth-Token: abc' -H \"Authorization: Bearer x y\"", None),
        ("curl -H 'Accept: text/html' x", "curl -H 'Accept: text/html' x"),
        ("get https://me:pass@host/a?b=c", "get https://***@host/a?b=c"),
        ("a=b && c", "a=b && c"),
        # An empty variable and an empty option: the next word is a program or another argument.
        ("PASSWORD= hunter2", "PASSWORD= hunter2"),
        ("run --password= hunter2", "run --password= hunter2"),
        ("run image/auth:1 password: x", "run image/auth:1 password: x"),
        ("curl -H X-Auth-Token:abc u", "curl -H X-Auth-Token:*** u"),
        ("wget --header=Authorization:abc u", "wget --header=Authorization:*** u"),
        ("cat <<E\npassword: it's b\nport: 1\nE", "cat <<E\npassword: ***\nport: 1\nE"),
        ("cat <<E\n  - api_key: 'a b'\nE", "cat <<E\n  - api_key: ***\nE"),
        (
            """curl -d '{"password": "a\\"b", "n": 1}' u""",
            """curl -d '{"password": ***, "n": 1}' u""",
        ),
        (r'curl -d "{\"token\":\"abc\"}" u', r'curl -d "{\"token\":***}" u'),
        ("the value-known here", "the *** here"),
    ],
)
def test_commands_are_masked(text: str, masked: str | None) -> None:
    expected = masked or "curl -H 'X-Auth-Token: ***' -H \"Authorization: ***\""
    assert Masking({"value-known"}).command(text) == expected


def test_words_are_masked() -> None:
    words = ["run", "--token", "abc", "--token=abc", "--force", "abc", "--password", "--x", "T=1"]
    masked = ["run", "--token", MASK, f"--token={MASK}", *words[4:]]
    assert Masking().words(words) == masked
    words = ["curl", "-H", "Authorization: Bearer x", "X-Api-Key: y", "Accept: z", "auth:1", "it's"]
    masked = [*words[:2], f"Authorization: {MASK}", f"X-Api-Key: {MASK}", *words[4:]]
    assert Masking().words(words) == masked
    words = ["curl", "-H", "X-Token:abc", "--header", "Cookie:x", "-d", '{"password": "abc"}']
    masked = [*words[:2], f"X-Token:{MASK}", "--header", f"Cookie:{MASK}", "-d"]
    assert Masking().words(words) == [*masked, f'{{"password": {MASK}}}']


def test_anything_is_masked() -> None:
    content = {"Env": ["API_KEY=abc", "A=b"], "token": "abc", "n": 1, "list": [None, {"x": True}]}
    assert Masking().anything(content) == {
        "Env": ["API_KEY=***", "A=b"],
        "token": "***",
        "n": 1,
        "list": [None, {"x": True}],
    }


def test_bytes_are_masked() -> None:
    assert Masking({"secret"}).data(b"\xff\0secret\xfe\r\n") == b"\xff\0***\xfe\r\n"


SPELLINGS = {
    "hunt'er \"2\\": [
        "hunt'er \"2\\",
        "hunt\\'er \"2\\\\",
        r"hunt'er \"2\\",
        "hunt'\"'\"'er \"2\\",
        "hunt%27er%20%222%5C",
    ],
    "-----BEGIN KEY-----\nfirst-line\nlast-line\n": ["first-line", "last-line"],
    "hunter2\n": ["hunter2"],
}


@pytest.mark.parametrize("value", SPELLINGS)
def test_each_spelling(value: str) -> None:
    """LISA masks each spelling of a secret in logs, reports and commands, line by line."""
    protect({value})
    for text in SPELLINGS[value]:
        assert secret.mask(f"<{text}>") == KNOWN.text(f"<{text}>") == f"<{MASK}>", text
        assert Masking({value}).own(f"<{text}>") == f"<{MASK}>", text
    assert KNOWN.text("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


@pytest.mark.parametrize("user", ["lisa", "root", "azureuser", "kernel"])
def test_names_of_users_stay(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records, the index and errors keep names of users, which LISA masks in its log."""
    monkeypatch.setattr(masking, "_public", set())
    secret.add_secret(user, secret.PATTERN_HEADTAIL)
    secret.add_secret(f"/home/{user}/.ssh/id_key")
    secret.add_secret("hunter2-password")
    expose(user, f"/home/{user}/.ssh/id_key", None, "")
    text = f"ssh -i /home/{user}/.ssh/id_key {user}@host {user}_test_1"
    assert secret.mask(text) != text
    assert KNOWN.text(text) == KNOWN.command(text) == str(ContainerError(text)) == text
    assert KNOWN.anything({"a": [text]}) == {"a": [text]}
    assert KNOWN.data(text.encode()) == text.encode()
    assert str(ContainerError(f"{user} hunter2-password", 3)) == f"('{user} ******', 3)"


def test_secrets_of_lisa_follow_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISA's secrets have LISA's substitute; ordinary ones are not masked everywhere."""
    monkeypatch.setattr(masking, "_public", set())
    secret.add_secret("a secret with | and (", sub="<masked>")
    secret.add_secret("a secret")
    secret.add_secret("root")  # a password
    secret.add_secret("a key of a user", secret.PATTERN_HEADTAIL)
    assert KNOWN.text("x a secret with | and ( x") == "x <masked> x"
    assert KNOWN.text("a secret, /root, a key of a user") == "******, /root, a****r"
    secret.add_secret("a secret", sub="<other>")
    assert KNOWN.text("a secret") == "<other>"
    secret.reset()
    assert KNOWN.text("a secret") == "a secret"


def test_log_without_the_masking_of_lisa(caplog: pytest.LogCaptureFixture) -> None:
    secret.add_secret("root", secret.PATTERN_HEADTAIL)
    secret.add_secret("hunter2-password")
    log = get_logger("plainly")
    log.addHandler(caplog.handler)
    try:
        log.info(Plain("root@host: hunter2-password"))
        log.info("root@host: hunter2-password")
    finally:
        log.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == [
        "root@host: ******",
        "r****t@host: ******",
    ]


def test_log_calls_take_plain() -> None:
    """All log calls of level INFO and above take `Plain`, except constants."""
    package = Path(masking.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.unparse(node) if isinstance(node, ast.Call) else ""
            if re.match(
                r"([\w.]+\.)?_?log\.(info|warning|error|critical)\((?!Plain\(|['\"])", text
            ):
                found.append(f"{path.relative_to(package)}: {text}")
    assert found == []


def test_tracebacks_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    """Tracebacks are masked with the causes of the error, which LISA does not mask."""
    protect({"hunter2"})
    try:
        try:
            raise ValueError("cause: hunter2")
        except ValueError as error:
            raise RuntimeError("hunter2") from error
    except RuntimeError:
        logging.getLogger("lisa.test").propagate = True
        logging.getLogger("a test").error("failed", exc_info=True)
    assert "cause: ***" in caplog.text and "RuntimeError: ***" in caplog.text
    assert "hunter2" not in caplog.text
