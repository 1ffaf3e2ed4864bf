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
    first, slash, rest = name.partition("/")
    if first == INDEX_NAME and "/" not in rest:
        return f"{INDEX_NAME}/library/{rest}"
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


def repository_of(name: str) -> str:
    """The name without tag and digest, with its registry in front.

    >>> repository_of("debian:12@sha256:abc"), repository_of("localhost:5000/a/b")
    ('docker.io/library/debian', 'localhost:5000/a/b')
    """
    return split(with_registry(name))[0]


def registry_of(name: str) -> str:
    """The registry of a name: `host[:port]`."""
    return with_registry(name).partition("/")[0]


def split(name: str) -> tuple[str, str]:
    """The name without tag and digest, and that of the two which counts: the digest, else the tag
    (`latest` where it has none).

    >>> split("localhost:5000/a:1"), split("a:1@sha256:abc")
    (('localhost:5000/a', '1'), ('a', 'sha256:abc'))
    """
    rest, _, digest = name.partition("@")
    head, slash, last = rest.rpartition("/")
    short, _, tag = last.partition(":")
    return f"{head}{slash}{short}", digest or tag or "latest"


def without_tag(name: str) -> str:
    """The name without the tag where it has a digest too, which is what counts then."""
    return "@".join(split(name)) if digest_of(name) else name


def digest_of(name: str) -> str:
    """The digest that a name is pinned to; empty where it is to none."""
    return name.partition("@")[2]


def prefixes(name: str) -> list[str]:
    """What an image's name begins with, in whole components, the longest first.

    >>> prefixes("debian:12")
    ['docker.io/library/debian', 'docker.io/library', 'docker.io']
    """
    parts = repository_of(name).split("/")
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
