"""Rules for the fields that say which image a container has: `image`, `registry`, `platform`."""

from __future__ import annotations

import re
from typing import Any

from lisa_container.config.checks import illegal, text
from lisa_container.config.reference import (
    LEGAL_IMAGE,
    LONGEST_NAME,
    ImageReference,
    is_registry_prefix,
)
from lisa_container.errors import ConfigError

_LEGAL_REGISTRY = (
    "host[:port] as in front of an image's name, the host with a '.', a port or 'localhost', "
    "such as 'registry.example.com:5000'"
)

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")
_LEGAL_PLATFORM = "os/architecture[/variant], such as 'linux/amd64' or 'linux/arm/v7'"


def image(field: str, value: Any) -> str:
    """Check an image's name or id; "" stands for none."""
    given = text(field, value, LEGAL_IMAGE)
    if given and ImageReference.try_parse(given) is None:
        lower = given.lower()
        hint = (
            f"did you mean {lower!r}?" if lower != given and ImageReference.try_parse(lower) else ""
        )
        legal = LEGAL_IMAGE
        if len(given) > LONGEST_NAME:
            legal += f", registry and name together at most {LONGEST_NAME} characters"
        raise illegal(field, given, legal, hint)
    return given


def new_name(field: str, value: str) -> ImageReference:
    """Check the name for an image that is made or brought: it has a tag, and no digest.

    Raises:
        ConfigError: the value is no such name.
    """
    found = ImageReference.try_parse(image(field, value)) if value else None
    if found is None or found.digest or found.id:
        legal = "a name with or without a tag, no digest"
        raise ConfigError(f"{field}: given '{value}'; legal: {legal}")
    return found


def registry(field: str, value: Any) -> str:
    """Check a registry, perhaps with a path in it (a proxy's project); "" is the engine's own."""
    given = text(field, value, _LEGAL_REGISTRY).rstrip("/")
    if given and not is_registry_prefix(given):
        hint = "leave the scheme out" if "://" in given else ""
        raise illegal(field, value, _LEGAL_REGISTRY, hint)
    return given


def platform(field: str, value: Any) -> str:
    """Check a platform; "" stands for none."""
    given = text(field, value, _LEGAL_PLATFORM)
    if given and not _PLATFORM.fullmatch(given):
        raise illegal(field, given, _LEGAL_PLATFORM)
    return given
