"""Errors for the messages of engines and registries."""

from __future__ import annotations

import pytest

from lisa_container.config import ImageReference
from lisa_container.errors import (
    EngineError,
    ImageNotFoundError,
    ImageRateLimitError,
    ImageUnauthorizedError,
    NoSpaceError,
    RegistryUnreachableError,
    RegistryUntrustedError,
)
from lisa_container.images.failures import registry_failure

IMAGE = "r.example.org:5000/team/tool:503"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"manifest for {IMAGE} not found: manifest unknown", ImageNotFoundError),
        ("manifest for r.example.org/denied/eof:401 not found", ImageNotFoundError),
        ("received unexpected HTTP status: 503 Service Unavailable", RegistryUnreachableError),
        ("error parsing HTTP 502 response body: ", RegistryUnreachableError),
        ("invalid status code from registry 504 (Gateway Timeout)", RegistryUnreachableError),
        ("dial tcp: lookup r.example.org: no such host", RegistryUnreachableError),
        ("unexpected EOF", RegistryUnreachableError),
        ("net/http: TLS handshake timeout", RegistryUnreachableError),
        ("unauthorized: authentication required", ImageUnauthorizedError),
        ("error parsing HTTP 403 response body: ", ImageUnauthorizedError),
        ("denied: requested access to the resource is denied", ImageUnauthorizedError),
        ("toomanyrequests: You have reached your pull rate limit", ImageRateLimitError),
        ("x509: certificate signed by unknown authority", RegistryUntrustedError),
        ("http: server gave HTTP response to HTTPS client", RegistryUntrustedError),
        ("write /var/lib/docker/x: no space left on device", NoSpaceError),
    ],
)
def test_kind(said: str, kind: type[EngineError]) -> None:
    reference = "r.example.org/denied/eof:401" if "denied/eof" in said else IMAGE
    error = registry_failure("node", ImageReference.parse(reference), said)
    assert type(error) is kind
    assert said in str(error)
