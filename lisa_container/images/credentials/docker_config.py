"""The file in which `docker login` and `podman login` store credentials.

The formats are those of Docker's config.json (docker-login(1), github.com/docker/cli, "cli/config")
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

from lisa_container.config import ImageReference
from lisa_container.images.credentials.credential import Credential

# Hosts that stand for Docker's own registry in old and new files.
_HUB = {f"index.{INDEX_NAME}", f"registry-1.{INDEX_NAME}"}
# A helper's name becomes the end of a program's name.
_HELPER = re.compile(r"[a-zA-Z0-9_.-]+")

Ask = Callable[[str, str], str]
"""Asks a credential helper (by name) for a server; returns its output, empty where it fails."""


class DockerConfig:
    """Content of a file with stored credentials.

    Args:
        content: the parsed JSON.
        origin: name of the file, for messages.
    """

    def __init__(self, content: Mapping[str, Any], origin: str) -> None:
        """Take the parts that are about credentials."""
        self.origin = origin
        self._auths = _by_registry(content.get("auths"))
        self._helpers = _by_registry(content.get("credHelpers"))
        self._store = content.get("credsStore")

    @classmethod
    def parse(cls, text: str, origin: str) -> DockerConfig | None:
        """Parse a file's text; None where it is no JSON object, which Docker ignores too."""
        try:
            content = json.loads(text)
        except ValueError:
            return None
        return cls(content, origin) if isinstance(content, dict) else None

    def find(self, reference: ImageReference, ask: Ask) -> Credential | None:
        """Return the credential for an image, chosen as Docker and Podman do.

        The entry with the longest matching name counts, and a helper's before one in the file.

        Args:
            reference: name of the image.
            ask: runs a helper.
        """
        names = reference.prefixes
        is_file = False
        for name in names:
            for helper in self._helpers.get(name, [])[:1]:
                # An empty name stands for the file, also beside a credsStore.
                is_file = is_file or helper == ""
                credential = self._ask(helper, name, ask)
                if credential:
                    return credential
        if self._store and not is_file:
            credential = self._ask(self._store, reference.full.registry, ask)
            if credential:
                return credential
        for name in names:
            for entry in self._auths.get(name, []):
                credential = self._read_entry(entry)
                if credential:
                    return credential
        return None

    def _ask(self, helper: Any, name: str, ask: Ask) -> Credential | None:
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            return None
        # Docker asks for its own registry by the old URL, Podman by the name.
        for server in [INDEX_URL, name] if name == INDEX_NAME else [name]:
            try:
                answer = json.loads(ask(helper, server))
                username, secret = str(answer["Username"]), str(answer["Secret"])
            except (ValueError, TypeError, KeyError):
                continue  # no credential: helpers say so in plain text
            origin = f"{self.origin} (docker-credential-{helper})"
            if username == TOKEN_USERNAME:
                return Credential(origin, identity_token=secret)
            if username or secret:
                return Credential(origin, username, secret)
        return None

    def _read_entry(self, entry: Any) -> Credential | None:
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


def _by_registry(entries: Any) -> dict[str, list[Any]]:
    """List entries by the registry as an image's name spells it.

    As with Docker, an alias, such as a key with `https://`, counts only where the exact key is
    missing, even if the exact one's entry is empty.
    """
    if not isinstance(entries, Mapping):
        return {}
    exact: dict[str, list[Any]] = {}
    aliases: dict[str, list[Any]] = {}
    for key, entry in entries.items():
        name = re.sub(r"^https?://", "", str(key)).rstrip("/")
        name = re.sub(r"/v[12]$", "", name)
        host, slash, path = name.partition("/")
        full = f"{INDEX_NAME if host in _HUB else host}{slash}{path}"
        # Docker stores its own registry's credential under the old URL, Podman under the name.
        kind = exact if key in (full, INDEX_URL) else aliases
        found = kind.setdefault(full, [])
        found.insert(0 if key == INDEX_URL else len(found), entry)
    return {**aliases, **exact}
