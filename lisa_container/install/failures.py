"""Why an installation failed, by what its manager printed. Exit codes hardly tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum


class Failure(Enum):
    """A cause, with the name of its error."""

    NO_SPACE = "no space"
    CONFLICT = "conflict"
    UNTRUSTED = "untrusted"
    UNAUTHORIZED = "unauthorized"
    UNREACHABLE = "unreachable"
    """The only one that may pass by itself; it is tried again."""
    NOT_FOUND = "not found"
    OTHER = "other"


Phrases = Mapping[Failure, str]
"""Regular expressions of what a manager says, by what it means."""

# What all of them say alike, through libc, TLS libraries and HTTP.
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
    # A lock of apt, dpkg, dnf, zypper or pacman; somebody else is installing.
    r"could not get lock|is locked by|unable to lock database|another app is currently",
}

# A conflict or a full disk is never the network's fault, though that may have been bad as well;
# a package that is not found very well may be.
_ORDER = (
    Failure.NO_SPACE,
    Failure.CONFLICT,
    Failure.UNTRUSTED,
    Failure.UNAUTHORIZED,
    Failure.UNREACHABLE,
    Failure.NOT_FOUND,
)


def classify(said: str, phrases: Phrases) -> Failure:
    """What a failed manager's output means.

    Args:
        said: all it printed.
        phrases: of the manager, beside those that all have in common.

    >>> classify("E: Unable to locate package x", {Failure.NOT_FOUND: "unable to locate package"})
    <Failure.NOT_FOUND: 'not found'>
    """
    for failure in _ORDER:
        patterns = (phrases.get(failure, ""), _COMMON.get(failure, ""))
        if any(pattern and re.search(pattern, said, re.IGNORECASE) for pattern in patterns):
            return failure
    return Failure.OTHER
