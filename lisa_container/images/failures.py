"""Why an image could not be pulled or pushed, told by the words of engines and registries.

Neither Docker nor Podman gives a registry's refusal a code of its own: all comes as text. The words
are those of the Go libraries that both use (net, crypto/x509, net/http), and of the registry's own
error codes (github.com/opencontainers/distribution-spec, "Error Codes").
"""

from __future__ import annotations

import re

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

# In front of a status of HTTP. A number alone may be a tag, or be in a digest.
_STATUS = r"\b(?:HTTP|status:?|status code:?|registry) "

# The first that fits counts: a registry that cannot be reached says nothing of who may.
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
    node: str, reference: str, said: str, credential: str = "", is_push: bool = False
) -> EngineError:
    """The error for what the engine said.

    Args:
        node: its name.
        reference: the image.
        said: its words.
        credential: who asked, and where that was found; empty for nobody.
        is_push: the image was to be pushed.
    """
    if "no space left" in said:
        return NoSpaceError(node, said)
    own = said.replace(reference, "")  # its name may be one of the words
    for kind, words in _KINDS:
        if re.search(words, own, re.IGNORECASE):
            if kind is ImageUnauthorizedError:
                said += f" (asked as {credential or 'nobody'})"
            return kind(reference, node, said, is_push)
    return ImageNotFoundError(reference, node, said, is_push)
