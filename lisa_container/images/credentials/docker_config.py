"""What `docker login` and `podman login` have stored in a file.

The forms are those of Docker's config.json (docker-login(1), github.com/docker/cli, "cli/config")
and of containers-auth.json(5), and of the credential helpers' protocol
(github.com/docker/docker-credential-helpers).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Callable

from docker.auth import INDEX_NAME, INDEX_URL, TOKEN_USERNAME

from lisa_container.images.credentials.credential import Credential
from lisa_container.images.names import prefixes, registry_of

# The registry that Docker's index stands for, in the words of old and new configs.
_HUB = {f"index.{INDEX_NAME}", f"registry-1.{INDEX_NAME}"}
# It becomes the end of a program's name.
_HELPER = re.compile(r"[a-zA-Z0-9_.-]+")

Ask = Callable[[str, str], str]
"""Asks a credential helper for a server; what it prints, empty where it fails."""


class DockerConfig:
    """One such file.

    Args:
        content: of it.
        origin: what to call it in a message.
    """

    def __init__(self, content: Mapping[str, Any], origin: str) -> None:
        self.origin = origin
        self._auths = _by_registry(content.get("auths"))
        self._helpers = _by_registry(content.get("credHelpers"))
        self._store = content.get("credsStore")

    @classmethod
    def parse(cls, text: str, origin: str) -> DockerConfig | None:
        """Read the file; None where it is none of that kind, as docker takes it then."""
        try:
            content = json.loads(text)
        except ValueError:
            return None
        return cls(content, origin) if isinstance(content, dict) else None

    def find(self, repository: str, ask: Ask) -> Credential | None:
        """The credential for an image, as docker and podman choose it: that of the longest name
        that fits; a helper's before one in the file.

        Args:
            repository: full name without tag.
            ask: runs a helper.
        """
        names = prefixes(repository)
        for name in names:
            helper = self._helpers.get(name)
            found = self._ask(helper, name, ask) if helper else None
            if found:
                return found
        if self._store:
            found = self._ask(self._store, registry_of(repository), ask)
            if found:
                return found
        for name in names:
            found = self._stored(self._auths.get(name))
            if found:
                return found
        return None

    def _ask(self, helper: Any, name: str, ask: Ask) -> Credential | None:
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            return None
        # docker asks for its own registry by that old URL, podman by the name.
        for server in [INDEX_URL, name] if name == INDEX_NAME else [name]:
            try:
                answer = json.loads(ask(helper, server))
                username, secret = str(answer["Username"]), str(answer["Secret"])
            except (ValueError, TypeError, KeyError):
                continue  # it has none: helpers say so in plain text
            origin = f"{self.origin} (docker-credential-{helper})"
            if username == TOKEN_USERNAME:
                return Credential(origin, identity_token=secret)
            if username or secret:
                return Credential(origin, username, secret)
        return None

    def _stored(self, entry: Any) -> Credential | None:
        if not isinstance(entry, Mapping):
            return None
        tokens = {
            ours: entry[theirs]
            for ours, theirs in (
                ("identity_token", "identitytoken"),
                ("registry_token", "registrytoken"),
            )
            if isinstance(entry.get(theirs), str) and entry[theirs]
        }
        if tokens:
            return Credential(self.origin, **tokens)
        username, password = entry.get("username"), entry.get("password")
        if entry.get("auth"):
            try:
                pair = base64.b64decode(str(entry["auth"])).decode()
            except (binascii.Error, ValueError):
                return None
            username, _, password = pair.rstrip("\0").partition(":")
        if isinstance(username, str) and isinstance(password, str) and username:
            return Credential(self.origin, username, password)
        return None


def _by_registry(entries: Any) -> dict[str, Any]:
    """By the names that images have in front."""
    if not isinstance(entries, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, entry in entries.items():
        name = re.sub(r"^https?://", "", str(key)).rstrip("/")
        name = re.sub(r"/v[12]$", "", name)
        host, slash, path = name.partition("/")
        found.setdefault(f"{INDEX_NAME if host in _HUB else host}{slash}{path}", entry)
    return found
