"""Masking of secrets in everything that is written: logs, errors, records and evidence.

One rule holds for a container's `environment`, a command's `update_envs`, build arguments,
credentials of registries and settings of package managers (docs/capture.md has it in full):

- A variable is secret if its name looks secret (`is_secret`). The password in a URL is secret.
- The value of a secret variable is masked everywhere unless it is an ordinary word or number
  (`is_distinct`). Beside the variable's name it is masked in any case.

LISA masks the secrets in `lisa.secret` in its logs and errors, so secrets are added there, too. And
LISA's secrets are masked here by the same rule. But LISA also masks the names of nodes' users and
the paths of their keys, which would make paths, names and commands useless. These are not secret.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import threading
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import IO, Any
from urllib.parse import quote, unquote

from lisa import secret

MASK = "***"

SECRET_WORDS = (
    *("PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD"),
    *("TOKEN", "SECRET", "KEY", "CREDENTIAL", "AUTH"),
)
"""A variable is secret if a part of its name (between `_` and `-`) ends with one of these, or its
plural, in any case. `PWD` and `OLDPWD` are not."""

SHORTEST_VALUE = 6
"""Smallest length of a value that is masked everywhere. A shorter one (`true`) is in many texts by
chance."""

SHORTEST_NUMBER = 8
"""Smallest length of a number that is masked everywhere."""

ORDINARY_WORDS = frozenset(
    {
        *("always", "allowed", "default", "denied", "disabled", "enabled", "kernel", "normal"),
        *("optional", "prefer", "private", "public", "required", "system", "unlimited"),
    }
)
"""Words of settings that are not masked everywhere, even as the value of a secret variable."""

# Smallest length of a token alone in a URL, where a user name ("git") may be as well.
_SHORTEST_TOKEN = 8

_SECRET_NAME = re.compile(rf"(?:{'|'.join(SECRET_WORDS)})S?(?=[_-]|$)", re.IGNORECASE)
_NO_SECRETS = {"PWD", "OLDPWD"}
_HEADERS = {"authorization", "proxy-authorization", "cookie"}
# Options of curl and wget before a header.
_HEADER_OPTIONS = ("-H", "--header")

_URL = r"\b[a-z][a-z0-9+.-]*://"
# `user:password@` or `token@` of any URL.
_USERINFO = re.compile(rf"(?P<scheme>{_URL})(?P<userinfo>[^\s/@'\"<>]+)@", re.IGNORECASE)
_VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s;&|'\"]+)"
# `NAME=value` and `--name=value`.
_ASSIGNMENT = re.compile(rf"(?P<name>[A-Za-z_][\w-]*)={_VALUE}")
# `NAME=value` as a shell sets a variable, and characters with which the shell changes the value.
_VARIABLE = re.compile(rf"(?<![\w-])(?P<name>[A-Z_][A-Z0-9_]*)={_VALUE}")
_EXPANSION = re.compile(r"[$`*\\]")
# `--name value`.
_OPTION = re.compile(rf"(?<!\S)(?P<name>--[A-Za-z][\w-]*)[ \t]+{_VALUE}")
# `'Name: value'`, as curl's option -H has it.
_HEADER = re.compile(r"(?<=['\"])(?P<name>[A-Za-z][\w-]*):[ \t]*(?P<value>[^'\"\n]+)")
# `-H Name:value`, in one word.
_HEADER_OPTION = re.compile(rf"(?<!\S)(?:-H[ \t]*|--header[ \t=])(?P<name>[A-Za-z][\w-]*):{_VALUE}")
# `name: value` in a line of its own, as in a YAML file that a here-document makes.
_LINE = re.compile(
    r"^[ \t]*(?:-[ \t]+)?(?P<name>[A-Za-z_][\w-]*):[ \t]+(?P<value>'[^']*'|\"[^\"]*\"|[^\n]+)",
    re.M,
)
# `"name": "value"` of JSON, perhaps in a string in double quotes.
_MEMBER = re.compile(
    r"\"(?P<name>[A-Za-z_][\w-]*)\\?\"\s*:\s*"
    r"(?P<value>\"(?:\\.|[^\"\\])*\"|\\\"[^\"\\]*\\\"|[^\s,}\]\"\\]+)"
)

_SETTINGS_LINES = (
    # npmrc's credentials, whole lines.
    re.compile(r"^\s*\S*_(?:authToken|auth|password)\s*=\s*[\"']?(?P<secret>[^\"'\s]+)", re.M),
    # cargo's config.toml; gemrc has its credentials in URLs.
    re.compile(r"^\s*(?:token|password)\s*=\s*[\"'](?P<secret>[^\"']+)", re.M),
    # netrc and apt's auth.conf.
    re.compile(r"\bpassword\s+(?P<secret>\S+)"),
)

_lock = threading.Lock()
# Names of users and paths of keys, see `expose`.
_public: set[str] = set()


# --- detection ----------------------------------------------------------------------------------


def is_secret(name: str) -> bool:
    """Return whether the name of a variable, option or key means that its value is secret."""
    return name not in _NO_SECRETS and _SECRET_NAME.search(str(name)) is not None


def is_distinct(value: str) -> bool:
    """Return whether a secret value can be masked everywhere without damage to other text."""
    if value.isdigit():
        return len(value) >= SHORTEST_NUMBER
    return len(value) >= SHORTEST_VALUE and value.lower() not in ORDINARY_WORDS


def secret_values(variables: Mapping[str, str] | None) -> frozenset[str]:
    """Return the distinct secret values among variables.

    Args:
        variables: Name to value, of an environment or of build arguments.
    """
    found: set[str] = set()
    for name, value in (variables or {}).items():
        text = str(value)
        if is_secret(name):
            found.add(text)
        if "://" in text:
            found |= _secrets_in_urls(text)
    return frozenset(filter(is_distinct, found))


def secrets_in_command(command: str) -> frozenset[str]:
    """Return the secret values that a command assigns to shell variables in capitals.

    Options do not count: the value in `sort --key=filename` is not secret.

    Args:
        command: Command line.
    """
    if "=" not in command:
        return frozenset()
    found = {
        match["value"].strip("'\"")
        for match in _VARIABLE.finditer(command)
        if is_secret(match["name"])
    }
    found = {value for value in found if not _EXPANSION.search(value)}
    return frozenset(filter(is_distinct, found))


def secrets_in(text: str) -> set[str]:
    """Return passwords and tokens in URLs and in the settings of package managers.

    Args:
        text: Content of a file of settings, or the value of a variable.
    """
    found = _secrets_in_urls(text)
    for pattern in _SETTINGS_LINES:
        found |= {match["secret"] for match in pattern.finditer(text)}
    return found - {""}


def protect(values: Iterable[str]) -> frozenset[str]:
    """Make LISA mask secrets from now on, in all logs, errors and tracebacks of this process.

    Args:
        values: Secret values. Those that are not distinct are ignored; see `is_distinct`.

    Returns:
        The values that are masked.
    """
    distinct = frozenset(filter(is_distinct, values))
    if distinct:
        with _lock:
            _mask_tracebacks()
            for each in sorted(_spellings(distinct)):
                if secret.mask(each) != MASK:
                    secret.add_secret(each, sub=MASK)
    return distinct


def expose(*values: str | None) -> None:
    """Never mask values that LISA takes for secret, such as the name of a node's user.

    LISA goes on masking them in what it logs.

    Args:
        values: Names of users and paths of keys. Empty ones and None are ignored.
    """
    with _lock:
        _public.update(each for each in values if each)


# --- masking ------------------------------------------------------------------------------------


class _LisaSecrets:
    """The secrets in `lisa.secret` that the rule takes for secret, in one pattern."""

    def __init__(self) -> None:
        """Read them at the first use."""
        self._seen: tuple[object, ...] = ()
        self._pattern: re.Pattern[str] | None = None
        self._substitutes: dict[str, str] = {}

    def mask(self, text: str) -> str:
        """Mask the secrets as LISA does, but leave names of users and paths of keys."""
        # LISA adds secrets at any time. Comparing with the same objects is quick.
        seen = (*secret._secret_list, len(_public))
        if seen != self._seen:
            self._read(seen)
        pattern = self._pattern
        return pattern.sub(self._substitute, text) if pattern is not None else text

    def _read(self, seen: tuple[object, ...]) -> None:
        substitutes = {pattern.pattern: substitute for pattern, substitute in secret._secret_list}
        known = [each for each in secret._secret_set if is_distinct(each) and each not in _public]
        self._substitutes = {each: substitutes.get(re.escape(each), MASK) for each in known}
        longest_first = sorted(known, key=lambda each: (-len(each), each))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if known else None
        self._seen = seen

    def _substitute(self, match: re.Match[str]) -> str:
        return self._substitutes.get(match[0], MASK)


_lisa_secrets = _LisaSecrets()


def mask_known(text: str) -> str:
    """Mask the secrets that LISA knows, but not names of users and paths of keys.

    Args:
        text: Any text; the same object is returned if it has nothing to mask.
    """
    return _lisa_secrets.mask(text)


class Plain:
    """Message of a log line that LISA does not mask: names of users and paths of keys stay.

        node.log.info(Plain(f"pulling image '{image}'"))

    LISA masks messages that are strings, before `logging` turns any other object into one.

    Args:
        message: The message; `mask_known` masks it.
    """

    def __init__(self, message: str) -> None:
        """Mask the message."""
        self._message = mask_known(message)

    def __str__(self) -> str:
        """Return the message; `logging` calls this."""
        return self._message


class Masking:
    """Masking of a set of secrets, and of those that LISA knows (`mask_known`).

    Args:
        values: Secrets in addition to those that LISA knows.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Compile one pattern for all spellings of the values."""
        self.values = frozenset(values)
        """Secrets in addition to those that LISA knows."""
        longest_first = sorted(_spellings(self.values), key=lambda value: (-len(value), value))
        pattern = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(pattern) if pattern else None

    def extended(self, values: AbstractSet[str]) -> Masking:
        """Return a masking of these values in addition."""
        return Masking(self.values | values) if values - self.values else self

    def own(self, text: str) -> str:
        """Mask `values` and credentials in URLs, but not LISA's secrets, such as user names."""
        return _mask_urls(self._mask_values(text))

    def text(self, text: str) -> str:
        """Mask any text; return the same object if it has nothing to mask."""
        # URLs come last: LISA may know a whole one as a secret.
        return _mask_urls(mask_known(self._mask_values(text))) if text else text

    def data(self, data: bytes) -> bytes:
        """Mask bytes, which need not be UTF-8."""
        text = data.decode("utf-8", errors="surrogateescape")
        masked = self.text(text)
        return data if masked == text else masked.encode("utf-8", errors="surrogateescape")

    def command(self, text: str) -> str:
        """Mask a command line or a word of it, also values by the name before `=` or `:`."""
        text = self.text(text)
        if "=" in text:
            text = _ASSIGNMENT.sub(_without_value, text)
        if "--" in text:
            text = _OPTION.sub(_without_value, text)
        if ":" in text:
            for pattern in (_HEADER, _HEADER_OPTION, _LINE, _MEMBER):
                text = pattern.sub(_without_value, text)
        return text

    def words(self, words: Sequence[str]) -> list[str]:
        """Mask the words of a command, also the values of secret options."""
        masked, option = [], ""
        for word in words:
            is_value = is_secret(option) and word and not word.startswith("-")
            masked.append(MASK if is_value else self._word(word, option in _HEADER_OPTIONS))
            is_option = word.startswith("--") or word in _HEADER_OPTIONS
            option = word if is_option and "=" not in word else ""
        return masked

    def environment(self, environment: Mapping[str, str] | None) -> dict[str, str]:
        """Mask the values of variables, also by their names."""
        return {
            name: MASK if value and is_secret(name) else self.text(str(value))
            for name, value in (environment or {}).items()
        }

    def anything(self, content: Any) -> Any:
        """Mask all strings in JSON content like command lines, and values by their keys."""
        if isinstance(content, str):
            return self.command(content)
        if isinstance(content, Mapping):
            return {
                key: MASK
                if value and isinstance(value, str) and is_secret(key)
                else self.anything(value)
                for key, value in content.items()
            }
        if isinstance(content, (list, tuple)):
            return [self.anything(value) for value in content]
        return content

    def _word(self, word: str, is_header: bool) -> str:
        text = self.command(word)
        # In a command line a header is in quotes, since it has a blank.
        if ":" in text and (is_header or shlex.quote(word) != word):
            return _HEADER.sub(_without_value, f"'{text}'")[1:-1]
        return text

    def _mask_values(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)


class MaskedFile:
    """Binary file for writing that masks secrets, a whole line at a time.

    Args:
        file: File that gets the masked lines.
        masking: Secrets to mask.
    """

    def __init__(self, file: IO[bytes], masking: Masking) -> None:
        """Begin with an empty line."""
        self._file = file
        self._masking = masking
        self._rest = b""

    def write(self, data: bytes) -> int:
        """Write the complete lines; keep the rest for the next call."""
        self._rest += data
        lines, newline, rest = self._rest.rpartition(b"\n")
        if newline:
            self._put(lines + newline)
            self._rest = rest
        return len(data)

    def flush(self) -> None:
        """Write the incomplete last line, as at the end of a command."""
        self._put(self._rest)
        self._rest = b""

    def _put(self, data: bytes) -> None:
        self._file.write(self._masking.data(data))
        self._file.flush()


def _secrets_in_urls(text: str) -> set[str]:
    found: set[str] = set()
    for match in _USERINFO.finditer(text):
        user, colon, password = match["userinfo"].partition(":")
        if colon:
            found.add(password)
        elif len(user) >= _SHORTEST_TOKEN:
            found.add(user)
    return found - {""}


def _spellings(values: Iterable[str]) -> set[str]:
    """Return the secrets in all spellings that a log, a report or a command may have."""
    found: set[str] = set()
    for value in values:
        forms = {value, value.strip(), quote(value, safe=""), unquote(value)}
        forms |= {repr(value)[1:-1], json.dumps(value)[1:-1], value.replace("'", "'\"'\"'")}
        if "\n" in value:
            # LISA logs line by line. The first and the last line of a PEM key are not secret.
            lines = (line.strip() for line in value.splitlines())
            forms |= {line for line in lines if is_distinct(line) and not line.startswith("-----")}
        found |= {form for form in forms if form == value or is_distinct(form)}
    return found - {""}


def _mask_urls(text: str) -> str:
    return _USERINFO.sub(rf"\g<scheme>{MASK}@", text) if "://" in text else text


def _without_value(match: re.Match[str]) -> str:
    name = match["name"]
    if not is_secret(name) and name.lower() not in _HEADERS:
        return match[0]
    begin, end = (place - match.start() for place in match.span("value"))
    return f"{match[0][:begin]}{MASK}{match[0][end:]}"


def _mask_tracebacks() -> None:
    """Install a log factory that masks tracebacks, once; LISA masks only the messages."""
    before = logging.getLogRecordFactory()
    if getattr(before, "_masks_tracebacks", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            # Formatters use an existing text as it is.
            record.exc_text = KNOWN.text(logging.Formatter().formatException(record.exc_info))
        return record

    factory._masks_tracebacks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


KNOWN = Masking()
"""Masking of the secrets that LISA knows, which include those from `protect`."""
