"""How an image is named: the grammar of github.com/distribution/reference, and our registry rule.

reference := [registry "/"] path ["/" path]... [":" tag] ["@" digest]
"""

from __future__ import annotations

import re
from typing import Any

from lisa_container.config.checks import illegal, text

# Images whose name begins so are made on the node itself, and never come from a registry.
LOCAL_REPOSITORY = "lisa_container/"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATHS = rf"{_PATH}(?:/{_PATH})*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REGISTRY = re.compile(rf"{_HOST}(?:/{_PATHS})?")
_REFERENCE = re.compile(rf"(?:{_HOST}/)?(?P<name>{_PATHS})(?P<tag>:{_TAG})?(?P<digest>@{_DIGEST})?")
# The engine's own name of an image that it has. Such an image can not be pulled.
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")

# The repository's name, registry and path together, in the distribution's reference.go.
_LONGEST_NAME = 255

_LEGAL_IMAGE = (
    "[registry/]name[:tag][@digest], the name in lower case, such as 'debian:12' or "
    "'registry.example.com:5000/team/kernel:1'"
)
_LEGAL_REGISTRY = (
    "host[:port] as in front of an image's name, the host with a '.', a port or 'localhost', "
    "such as 'registry.example.com:5000'"
)

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")
_LEGAL_PLATFORM = "os/architecture[/variant], such as 'linux/amd64' or 'linux/arm/v7'"


def is_registry(component: str) -> bool:
    """Docker's rule for whether the first component of a name is a registry."""
    return "." in component or ":" in component or component == "localhost"


def image(field: str, value: Any) -> str:
    """An image's reference or its id, or "" when none is named here."""
    given = text(field, value, _LEGAL_IMAGE)
    if not given or _IMAGE_ID.fullmatch(given):
        return given
    match = _REFERENCE.fullmatch(given)
    name = given[: match.end("name")] if match else ""
    first, slash, _ = name.partition("/")
    # The grammar takes "Team/kernel" for a registry "Team"; the registry rule does not.
    if not match or (slash and not is_registry(first) and first != first.lower()):
        lower = given.lower()
        is_case = lower != given and _REFERENCE.fullmatch(lower)
        raise illegal(field, given, _LEGAL_IMAGE, f"did you mean {lower!r}?" if is_case else "")
    if len(name) > _LONGEST_NAME:
        raise illegal(field, given, f"a name of at most {_LONGEST_NAME} characters")
    return given


def registry(field: str, value: Any) -> str:
    """A registry, perhaps with a path in it (a proxy's project), or "" for the engine's own."""
    given = text(field, value, _LEGAL_REGISTRY).rstrip("/")
    if given and not (_REGISTRY.fullmatch(given) and is_registry(given.partition("/")[0])):
        hint = "leave the scheme out" if "://" in given else ""
        raise illegal(field, value, _LEGAL_REGISTRY, hint)
    return given


def platform(field: str, value: Any) -> str:
    """A platform, or "" when none is named."""
    given = text(field, value, _LEGAL_PLATFORM)
    if given and not _PLATFORM.fullmatch(given):
        raise illegal(field, given, _LEGAL_PLATFORM)
    return given


def is_local(image: str) -> bool:
    """Only the node itself can have this image: no registry knows it by this name."""
    return image.startswith(LOCAL_REPOSITORY) or bool(_IMAGE_ID.fullmatch(image))


def reference(image: str, registry: str) -> str:
    """The full name to give to the engine: registry in front, tag behind, each where missing."""
    if _IMAGE_ID.fullmatch(image):
        return image
    match = _REFERENCE.fullmatch(image)
    assert match, f"not checked before: {image!r}"
    if not match["tag"] and not match["digest"]:
        image += ":latest"
    first, slash, _ = image.partition("/")
    names_registry = bool(slash) and is_registry(first)
    if not registry or names_registry or is_local(image):
        return image
    return f"{registry}/{image}"
