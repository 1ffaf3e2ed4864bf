"""Keeping secrets out of artifacts.

What LISA knows as a secret is replaced as LISA does it. Beside that the values of variables whose
name says that they are secret are, also where a command prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from lisa import secret

MASK = "***"

SECRET_WORDS = (
    *("PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD"),
    *("TOKEN", "SECRET", "KEY", "CREDENTIAL", "AUTH"),
)
"""A variable is secret if a part of its name (between `_` and `-`) ends with one of these, or its
plural, in any case. `PWD` and `OLDPWD` are not."""

# A shorter value (`true`, `1`) would be masked wherever it stands by chance.
SHORTEST_VALUE = 6

# `user:password@` or `token@` of any URL.
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@'\"<>]+@", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"(?:{'|'.join(SECRET_WORDS)})S?(?=[_-]|$)", re.IGNORECASE)
_NO_SECRETS = {"PWD", "OLDPWD"}
# `NAME=value` and `--name=value`.
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][\w-]*)=(?P<value>'[^']*'|\"[^\"]*\"|[^\s;&|'\"]+)")


def is_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is secret."""
    return name not in _NO_SECRETS and _SECRET_NAME.search(str(name)) is not None


def mask_urls(text: str) -> str:
    """The text without user names and passwords in URLs."""
    return _USERINFO.sub(rf"\g<scheme>{MASK}@", text) if "://" in text else text


def secret_values(environment: Mapping[str, str] | None) -> set[str]:
    """The values of secret variables, as far as they are long enough to be masked anywhere."""
    return {
        str(value)
        for name, value in (environment or {}).items()
        if len(str(value)) >= SHORTEST_VALUE and is_secret(name)
    }


class Masking:
    """Masks what is written for one container.

    Args:
        values: secrets beside those that LISA knows.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(values)
        """Those secrets."""
        longest_first = sorted(self.values, key=lambda value: (-len(value), value))
        pattern = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(pattern) if pattern else None

    def extended(self, values: AbstractSet[str]) -> Masking:
        """One that masks these values, too."""
        return Masking(self.values | values) if values - self.values else self

    def text(self, text: str) -> str:
        """Any text; the very same object where there is nothing to mask in it."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return mask_urls(secret.mask(text)) if text else text

    def data(self, data: bytes) -> bytes:
        """The same for bytes, which need not be text."""
        text = data.decode("utf-8", errors="surrogateescape")
        masked = self.text(text)
        return data if masked == text else masked.encode("utf-8", errors="surrogateescape")

    def command(self, text: str) -> str:
        """A command line, or a word of one: `NAME=value` is masked by the name."""
        text = self.text(text)
        return _ASSIGNMENT.sub(_assignment, text) if "=" in text else text

    def environment(self, environment: Mapping[str, str] | None) -> dict[str, str]:
        """Variables, by their names."""
        return {
            name: MASK if value and is_secret(name) else self.text(str(value))
            for name, value in (environment or {}).items()
        }

    def anything(self, content: Any) -> Any:
        """What JSON can hold, with all texts in it masked as command lines."""
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


def _assignment(match: re.Match[str]) -> str:
    return f"{match['name']}={MASK}" if is_secret(match["name"]) else match[0]
