"""Why an image could not be pulled, told by the words of engines and registries.

Neither Docker nor Podman gives a registry's refusal a code of its own: all comes as text. The words
are those of the Go libraries that both use (net, crypto/x509, net/http), and of the registry's own
error codes (github.com/opencontainers/distribution-spec, "Error Codes").
"""

from __future__ import annotations

import re

from lisa_container.engine.client import Engine
from lisa_container.errors import (
    EngineError,
    ImageNotFoundError,
    ImageRateLimitError,
    ImageUnauthorizedError,
    NoSpaceError,
    RegistryUnreachableError,
    RegistryUntrustedError,
)

# The first that fits counts: a registry that cannot be reached says nothing of who may.
_KINDS: list[tuple[type[ImageNotFoundError], str]] = [
    (ImageRateLimitError, r"toomanyrequests|too many requests|rate limit"),
    (RegistryUntrustedError, r"x509:|HTTP response to HTTPS client|tls: (?!handshake timeout)"),
    (
        RegistryUnreachableError,
        r"connection re(?:fused|set)|broken pipe|no such host|server misbehaving|i/o timeout"
        r"|handshake timeout|deadline exceeded|Client\.Timeout|\bEOF\b|no route to host"
        r"|network is unreachable|\b50[0234]\b|Internal Server Error|Bad Gateway"
        r"|Service Unavailable|Gateway Time-?out",
    ),
    (
        ImageUnauthorizedError,
        r"unauthorized|authentication required|no basic auth|denied|\b40[13]\b",
    ),
]


def pull_failure(engine: Engine, reference: str, said: str) -> EngineError:
    """The error for what the engine said.

    Args:
        engine: of the node.
        reference: the image.
        said: its words.
    """
    if "no space left" in said:
        return NoSpaceError(engine.name, said)
    for kind, words in _KINDS:
        if re.search(words, said, re.IGNORECASE):
            return kind(reference, engine.name, said)
    return ImageNotFoundError(reference, engine.name, said)
