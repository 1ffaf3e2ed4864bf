"""`.dockerignore`: which files of a folder are no part of a build's context.

Read as the docker command does: https://github.com/moby/patternmatcher, and for a name's pattern
https://pkg.go.dev/path/filepath#Match. The Docker SDK has a matcher, too, which takes upper and
lower case for equal, knows no escapes, and swaps the meanings of `[^a]` and `[!a]`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import Pattern

from lisa_container.errors import ConfigError
from lisa_container.images.build.words import SPACES

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Rule:
    """Line of the file: `keeps` for one with a `!`."""

    text: str
    keeps: bool
    pattern: Pattern[str]


class IgnoreFile:
    """Patterns of an ignore file.

    Args:
        content: content of the file.
        origin: path of the file, for messages.

    Raises:
        ConfigError: a pattern is malformed; the docker command refuses it, too.
    """

    def __init__(self, content: bytes = b"", origin: str = "") -> None:
        """Compile the patterns."""
        self.content = content
        self._rules = []
        for line in content.removeprefix(_BOM).split(b"\n"):
            text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
            if text.startswith("#"):
                continue
            text = text.strip(SPACES)
            keeps = text.startswith("!")
            pattern = text[1:].strip(SPACES) if keeps else text
            if not text:
                continue
            try:
                cleaned = _clean(pattern)
                self._rules.append(_Rule(cleaned, keeps, _compile(cleaned)))
            except ValueError as error:
                raise ConfigError(
                    f"build: '{origin}' has the pattern {text!r}, and {error}. The docker command "
                    "refuses it, too: correct that line"
                ) from error
        self._has_exceptions = any(rule.keeps for rule in self._rules)

    def ignores(self, path: str) -> bool:
        """Return whether a file or folder is left out.

        The last rule that matches it or a folder above it decides.

        Args:
            path: relative path with slashes.
        """
        parts = path.split("/")
        paths = [path, *("/".join(parts[:depth]) for depth in range(1, len(parts)))]
        ignored = False
        for rule in self._rules:
            if rule.keeps == ignored and any(map(rule.pattern.fullmatch, paths)):
                ignored = not rule.keeps
        return ignored

    def walk(self, root: Path) -> Iterator[str]:
        """Yield the relative paths below a folder that are not left out; links are not followed.

        Args:
            root: the folder.

        Raises:
            OSError: a folder cannot be read.
        """
        yield from self._walk(str(root), "")

    def _walk(self, root: str, below: str) -> Iterator[str]:
        with os.scandir(posixpath.join(root, below)) as entries:
            found = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
        for name, is_folder in found:
            path = posixpath.join(below, name)
            ignored = self.ignores(path)
            if not ignored:
                yield path
            if is_folder and (not ignored or self._may_keep_below(path)):
                yield from self._walk(root, path)

    def _may_keep_below(self, folder: str) -> bool:
        """Tell whether the docker command looks for exceptions in a folder that is left out."""
        return self._has_exceptions and any(
            rule.keeps and f"{rule.text}/".startswith(f"{folder}/") for rule in self._rules
        )


def _clean(pattern: str) -> str:
    """Return a pattern in its shortest form; an absolute one begins at the context.

    Raises:
        ValueError: it is empty.
    """
    if not pattern:
        raise ValueError("nothing follows its '!'")
    return posixpath.normpath(pattern).lstrip("/") or "/"


def _compile(pattern: str) -> Pattern[str]:
    """Translate a pattern.

    Raises:
        ValueError: it is malformed.
    """
    result, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            result += "(?:.*/)?" if at < len(pattern) else ".*"
        elif char == "*":
            result += "[^/]*"
        elif char == "?":
            result += "[^/]"
        elif char == "\\":
            if at == len(pattern):
                raise ValueError("nothing follows its last backslash")
            result += re.escape(pattern[at])
            at += 1
        elif char == "[":
            ranges, at = _class(pattern, at)
            result += ranges
        else:
            result += re.escape(char)
    return re.compile(result, re.DOTALL)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """Translate a class of characters; return it and the index behind it."""
    is_negated = pattern[at : at + 1] == "^"
    at += is_negated
    ranges, count = "", 0
    while not count or pattern[at : at + 1] != "]":
        low, at = _one(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _one(pattern, at + 1)
        count += 1
        if low <= high:  # else no character is in it
            ranges += f"{re.escape(low)}-{re.escape(high)}"
    if is_negated:
        return f"[^{ranges}]" if ranges else ".", at + 1
    return f"[{ranges}]" if ranges else "(?!)", at + 1


def _one(pattern: str, at: int) -> tuple[str, int]:
    """Read a character of a class."""
    char = pattern[at : at + 1]
    if char in ("", "-", "]"):
        raise ValueError("its class of characters is malformed")
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
        if not char:
            raise ValueError("nothing follows its last backslash")
    return char, at + 1
