"""Causes of failed installations, recognised by the manager's output.

Exit codes do not distinguish the causes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum


class Failure(Enum):
    """Cause of a failed installation."""

    NO_SPACE = "no space"
    CONFLICT = "conflict"
    UNTRUSTED = "untrusted"
    UNAUTHORIZED = "unauthorized"
    UNREACHABLE = "unreachable"
    """The only cause that may disappear by itself. The installer tries again."""
    NOT_FOUND = "not found"
    OTHER = "other"


Phrases = Mapping[Failure, str]
"""Regular expressions for a manager's messages, by cause."""

# Messages that all managers share, from libc, TLS libraries and HTTP.
_COMMON: dict[Failure, str] = {
    Failure.NO_SPACE: r"no space left on device|ENOSPC|(?:not|don't have) enough (?:free )?space|"
    r"disk (?:is )?full|disk quota exceeded",
    Failure.UNTRUSTED: r"certificate[ _]verif|certificate is not trusted|"
    r"self[- ]signed certificate|unable to get local issuer|UNABLE_TO_(?:GET|VERIFY)|"
    r"x509:|NO_PUBKEY|"
    r"signatures? (?:verification failed|is invalid|couldn't be verified)|is not signed|"
    r"UNTRUSTED signature",
    Failure.UNAUTHORIZED: r"\b401\b.{0,20}(?:unauthori[sz]ed|error)|\bE40[13]\b|"
    r"\b403\b.{0,20}forbidden|authentication required|unauthori[sz]ed",
    Failure.UNREACHABLE: r"temporary failure|could(?:n't| not) resolve|name or service not known|"
    r"getaddrinfo|EAI_AGAIN|ENOTFOUND|ECONNRE(?:SET|FUSED)|ETIMEDOUT|EHOSTUNREACH|EPIPE|"
    r"connection (?:refused|reset|broken|timed out|aborted|error|closed)|could(?:n't| not) connect|"
    r"failed to connect|network is unreachable|no route to host|timed? ?out|timeout|"
    r"\b(?:HTTP\S*|error:?|code:?|status:?|[EW]:)\s+(?:429|50[0-4])\b|\b50[0-4]\s+[A-Z]\w+|"
    r"too many requests|unexpected EOF|hash sum mismatch|remote end closed|no such host|"
    r"server misbehaving|incompleteread|bad gateway|service unavailable|"
    # A lock of apt, dpkg, dnf, zypper or pacman; another process is installing.
    r"could not get lock|is locked by|unable to lock database|another app is currently",
}

# Order of the checks. A conflict or a full disk is never caused by the network, even if the output
# has network errors too. A missing package may be, so NOT_FOUND comes after UNREACHABLE.
_ORDER = (
    Failure.NO_SPACE,
    Failure.CONFLICT,
    Failure.UNTRUSTED,
    Failure.UNAUTHORIZED,
    Failure.UNREACHABLE,
    Failure.NOT_FOUND,
)


def classify(output: str, phrases: Phrases) -> Failure:
    """Return the cause of a failure from the manager's output.

    Args:
        output: complete output of the failed command.
        phrases: messages of this manager, in addition to the common ones.

    >>> classify("E: Unable to locate package x", {Failure.NOT_FOUND: "unable to locate package"})
    <Failure.NOT_FOUND: 'not found'>
    """
    for failure in _ORDER:
        patterns = (phrases.get(failure, ""), _COMMON.get(failure, ""))
        if any(pattern and re.search(pattern, output, re.IGNORECASE) for pattern in patterns):
            return failure
    return Failure.OTHER
