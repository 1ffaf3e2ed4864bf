"""Causes of failed pulls and pushes, recognised by the messages of engines and registries.

Neither Docker nor Podman gives a registry's refusal a code of its own: both send text only. The
words are those of the Go libraries that both use (net, crypto/x509, net/http), and of the
registry's error codes (github.com/opencontainers/distribution-spec, "Error Codes").
"""

from __future__ import annotations

import re

from lisa_container.config import ImageReference
from lisa_container.errors import (
    EngineError,
    ImageNotFoundError,
    ImagePlatformError,
    ImageRateLimitError,
    ImageUnauthorizedError,
    NoSpaceError,
    RegistryUnreachableError,
    RegistryUntrustedError,
)
from lisa_container.images.credentials import Credential

# Stands before a status of HTTP. A number alone may be a tag or a part of a digest.
_STATUS = r"\b(?:HTTP|status:?|status code:?|registry) "

# The first match counts: a registry that cannot be reached says nothing about credentials.
_KINDS: list[tuple[type[ImageNotFoundError], str]] = [
    (
        ImagePlatformError,
        r"no matching manifest for|does not match the specified platform"
        r"|no image found in (?:manifest list|image index)",
    ),
    (ImageRateLimitError, r"toomanyrequests|too many requests|rate limit"),
    (RegistryUntrustedError, r"x509:|HTTP response to HTTPS client|tls: (?!handshake timeout)"),
    (
        RegistryUnreachableError,
        r"connection re(?:fused|set)|broken pipe|no such host|server misbehaving|i/o timeout"
        r"|handshake timeout|deadline exceeded|Client\.Timeout|\bEOF\b|no route to host"
        rf"|network is unreachable|{_STATUS}50[0234]\b|Internal Server Error|Bad Gateway"
        r"|Service Unavailable|Gateway Time-?out",
    ),
    (
        ImageUnauthorizedError,
        rf"unauthorized|authentication required|no basic auth|denied|{_STATUS}40[13]\b",
    ),
]


def registry_failure(
    node: str,
    reference: ImageReference,
    message: str,
    credential: Credential | None = None,
    is_push: bool = False,
) -> EngineError:
    """Return the error for an engine's message about a pull or push.

    Args:
        node: name of the node.
        reference: the image.
        message: the engine's text.
        credential: the one that was used, for the error's text.
        is_push: the image was pushed, not pulled.
    """
    if "no space left" in message:
        return NoSpaceError(node, message)
    name = str(reference)
    searched = message.replace(name, "")  # the name may contain one of the words
    for kind, words in _KINDS:
        if re.search(words, searched, re.IGNORECASE):
            if kind is ImageUnauthorizedError:
                message += f" (asked {f'as {credential}' if credential else 'without credentials'})"
            return kind(name, node, message, is_push)
    return ImageNotFoundError(name, node, message, is_push)
