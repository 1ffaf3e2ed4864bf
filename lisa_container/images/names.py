"""An image's name in its longer forms, as engines, containerd and OCI layouts write it."""

from __future__ import annotations

from docker.auth import INDEX_NAME

from lisa_container.config import images
from lisa_container.config.images import is_registry
from lisa_container.errors import ConfigError


def with_registry(name: str) -> str:
    """The name with its registry in front, Docker's own where it names none (then, for a name of
    one word, also `library/`).

    Args:
        name: with or without a tag.
    """
    first, slash, _ = name.partition("/")
    if slash and is_registry(first):
        return name
    return f"{INDEX_NAME}/{name}" if slash else f"{INDEX_NAME}/library/{name}"


def without_registry(name: str) -> str:
    """The name as people write it: `with_registry` undone.

    >>> without_registry("docker.io/library/debian:12"), without_registry("host:5000/a/b")
    ('debian:12', 'host:5000/a/b')
    """
    for front in (f"{INDEX_NAME}/library/", f"{INDEX_NAME}/"):
        if name.startswith(front):
            return name[len(front) :]
    return name


def with_tag(name: str) -> str:
    """The name with its tag or digest, `latest` where it has none."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def full_name(name: str) -> str:
    """The name for an image that is made or brought, with its tag.

    Args:
        name: as a user gave it.

    Raises:
        ConfigError: it is none, or names a digest, which nobody can give away.
    """
    full = images.reference(images.image("name", name), "")
    if "@" in full or ":" not in full:
        raise ConfigError(f"name: given '{name}'; legal: a name with or without a tag, no digest")
    return full
