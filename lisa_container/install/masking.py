"""Keeping secrets out of what is written: logs, errors, records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import IO
from urllib.parse import quote, unquote

from lisa_container.capture.masking import MASK, mask_urls

# A token may stand alone in a URL, where a user name ("git") does as well.
_SHORTEST_TOKEN = 8
_SECRET_LINES = (
    # npmrc's credentials, whole lines.
    re.compile(r"^\s*\S*_(?:authToken|auth|password)\s*=\s*[\"']?(?P<secret>[^\"'\s]+)", re.M),
    # cargo's config.toml; gemrc has its credentials in URLs.
    re.compile(r"^\s*(?:token|password)\s*=\s*[\"'](?P<secret>[^\"']+)", re.M),
    # netrc and apt's auth.conf.
    re.compile(r"\bpassword\s+(?P<secret>\S+)"),
)


class Mask:
    """Replaces secrets by stars.

    Args:
        secrets: as they are; how a URL would write them is masked too.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings: set[str] = set()
        for secret in secrets:
            spellings |= {secret, quote(secret, safe=""), unquote(secret)} - {""}
        longest_first = sorted(spellings, key=lambda word: (-len(word), word))
        self._words = (
            re.compile("|".join(re.escape(word) for word in longest_first)) if spellings else None
        )

    def __call__(self, text: str) -> str:
        """The text without them."""
        # Also of a URL that nobody told us of.
        text = mask_urls(text)
        return self._words.sub(MASK, text) if self._words else text


class MaskedFile:
    """A binary file for writing that lets no secret through: it writes whole lines, masked.

    Args:
        file: gets the lines.
        mask: what to keep out.
    """

    def __init__(self, file: IO[bytes], mask: Mask) -> None:
        self._file = file
        self._mask = mask
        self._rest = b""

    def write(self, data: bytes) -> int:
        """Take the next piece."""
        self._rest += data
        lines, newline, rest = self._rest.rpartition(b"\n")
        if newline:
            self._put(lines + newline)
            self._rest = rest
        return len(data)

    def flush(self) -> None:
        """Write what is left, as at the end of a command."""
        self._put(self._rest)
        self._rest = b""

    def _put(self, data: bytes) -> None:
        text = data.decode("utf-8", errors="surrogateescape")
        self._file.write(self._mask(text).encode("utf-8", errors="surrogateescape"))
        self._file.flush()


def secrets_in(text: str) -> set[str]:
    """Passwords and tokens in a URL, or in the settings of a package manager."""
    found = set()
    for match in re.finditer(r"://(?P<userinfo>[^\s/@'\"]+)@", text):
        user, colon, password = match["userinfo"].partition(":")
        if colon:
            found.add(password)
        elif len(user) >= _SHORTEST_TOKEN:
            found.add(user)
    for pattern in _SECRET_LINES:
        found |= {match["secret"] for match in pattern.finditer(text)}
    return found - {""}
