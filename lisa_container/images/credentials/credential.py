"""Credential for a registry."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from docker.auth import INDEX_NAME, INDEX_URL

from lisa_container.masking import protect


@dataclass(frozen=True)
class Credential:
    """Credential for a registry in one of three forms. Its `repr` shows no secret.

    Attributes:
        origin: where the credential was found, for messages.
        username: name of an account; empty for a token.
        password: the account's password, or a token used as one.
        identity_token: token that the registry's authority exchanges for others, as `docker login`
            may store it.
        registry_token: token that is sent to the registry as it is.
    """

    origin: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Have logs mask the password and the tokens."""
        protect({self.password, self.identity_token, self.registry_token})

    def __str__(self) -> str:
        """Return the user and the origin, without any secret."""
        who = f"user '{self.username}'" if self.username else "a token"
        return f"{who} of {self.origin}"

    def header(self, registry: str) -> bytes:
        """Return the value of `X-Registry-Auth` (Docker Engine API, "Authentication").

        Args:
            registry: `host[:port]`.
        """
        content = {"serveraddress": INDEX_URL if registry == INDEX_NAME else registry}
        if self.registry_token:
            content["registrytoken"] = self.registry_token
        elif self.identity_token:
            content["identitytoken"] = self.identity_token
        else:
            content.update(username=self.username, password=self.password)
        return base64.urlsafe_b64encode(json.dumps(content).encode())
