"""One credential for a registry."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from docker.auth import INDEX_NAME, INDEX_URL


@dataclass(frozen=True)
class Credential:
    """What to show to a registry, in one of three forms. Its `repr` shows no secret.

    Attributes:
        origin: where it was found, for messages.
        username: with a password.
        password: or a token that takes its place.
        identity_token: for which the registry's authority gives other tokens, as `docker login`
            may store it.
        registry_token: to be shown as it is.
    """

    origin: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __str__(self) -> str:
        who = f"user '{self.username}'" if self.username else "a token"
        return f"{who} of {self.origin}"

    def header(self, registry: str) -> bytes:
        """The value of `X-Registry-Auth` (Docker Engine API, "Authentication").

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
