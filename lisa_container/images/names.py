"""An image's name in its longest form, as containerd and OCI layouts write it."""

from __future__ import annotations

from docker.auth import INDEX_NAME

from lisa_container.config.images import is_registry


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


def with_tag(name: str) -> str:
    """The name with its tag or digest, `latest` where it has none."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"
