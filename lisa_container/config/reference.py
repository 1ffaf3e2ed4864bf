"""`ImageReference`: an image's name, parsed once.

The grammar is that of github.com/distribution/reference:
reference := [registry "/"] path ["/" path]... [":" tag] ["@" digest]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lisa_container.config.checks import illegal

LOCAL_REPOSITORY = "lisa_container/"
"""Prefix of the names of images that are made on the node itself and come from no registry."""

DOCKER_HUB = "docker.io"
"""Registry of a name that names none, as Docker and containerd write it."""
_HUB_FOLDER = "library/"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATHS = rf"{_PATH}(?:/{_PATH})*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REGISTRY = re.compile(rf"{_HOST}(?:/{_PATHS})?")
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PATHS})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")

_SHORT_ID = re.compile(r"[0-9a-f]{4,63}")

LONGEST_NAME = 255
"""Most characters of registry and path together, as in the distribution's reference.go."""
# With a tag of 128 characters and the longest digest; bounds the time for a hostile text.
_LONGEST = 1024

LEGAL_IMAGE = (
    "[registry/]name[:tag][@digest], the name in lower case, such as 'debian:12' or "
    "'registry.example.com:5000/team/kernel:1'"
)


@dataclass(frozen=True)
class ImageReference:
    """Name of an image in its parts, or the id by which an engine knows an image.

    `str()` gives the name for the engine, spelled as the user did, with the tag added.

    >>> ImageReference.parse("host:5000/team/tool")
    ImageReference(registry='host:5000', repository='team/tool', tag='latest', digest='', id='')
    >>> str(ImageReference.parse("debian:12").full)
    'docker.io/library/debian:12'

    Args:
        registry: `host[:port]`; empty where the name does not say it, which is the engine's own.
        repository: path in the registry, such as `team/tool`.
        tag: empty only where a digest is given alone.
        digest: `algorithm:digits`; empty where the name has none. It counts more than the tag.
        id: the engine's id; all other fields are empty then, and no registry knows the image.
    """

    registry: str = ""
    repository: str = ""
    tag: str = ""
    digest: str = ""
    id: str = ""

    @classmethod
    def try_parse(cls, text: str) -> ImageReference | None:
        """Parse any text, such as a name in an archive; None where the text is no name.

        Args:
            text: a name, where the tag `latest` is added to one without tag and digest, or an id.
        """
        if len(text) > _LONGEST:
            return None
        if _IMAGE_ID.fullmatch(text):
            return cls(id=text)
        match = _REFERENCE.fullmatch(text)
        if match is None or len(match["name"]) > LONGEST_NAME:
            return None
        first, slash, rest = match["name"].partition("/")
        if slash and is_registry(first):
            registry, repository = first, rest
        # The grammar takes "Team/kernel" for a registry "Team"; the registry rule does not.
        elif first == first.lower():
            registry, repository = "", match["name"]
        else:
            return None
        digest = match["digest"] or ""
        tag = match["tag"] or ("" if digest else "latest")
        return cls(registry, repository, tag, digest)

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Parse a name or an id; see `try_parse`.

        Raises:
            ConfigError: it is neither.
        """
        found = cls.try_parse(text)
        if found is None:
            raise illegal("image", text, LEGAL_IMAGE)
        return found

    def __str__(self) -> str:
        """Return the name with its tag and digest."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository without tag and digest, or the id."""
        return self.id or (f"{self.registry}/" if self.registry else "") + self.repository

    @property
    def version(self) -> str:
        """The digest, else the tag: the part that decides which image of the repository it is."""
        return self.digest or self.tag

    @property
    def full(self) -> ImageReference:
        """This name with its registry written out, as containerd and OCI layouts have it."""
        if self.id:
            return self
        registry, repository = self.registry or DOCKER_HUB, self.repository
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"{_HUB_FOLDER}{repository}"
        return replace(self, registry=registry, repository=repository)

    @property
    def familiar(self) -> ImageReference:
        """This name as users write it, without Docker's own registry."""
        if self.registry != DOCKER_HUB:
            return self
        short = self.repository.removeprefix(_HUB_FOLDER)
        return replace(self, registry="", repository=self.repository if "/" in short else short)

    @property
    def for_engine(self) -> ImageReference:
        """This name without its tag if it has a digest: Podman refuses names with both."""
        return replace(self, tag="") if self.digest else self

    @property
    def prefixes(self) -> list[str]:
        """Beginnings of the full name in whole components, the longest first.

        >>> ImageReference.parse("debian:12").prefixes
        ['docker.io/library/debian', 'docker.io/library', 'docker.io']
        """
        parts = self.full.name.split("/")
        return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]

    @property
    def is_local(self) -> bool:
        """Whether only the node itself can have this image: no registry knows it by this name."""
        return bool(self.id) or (not self.registry and self.repository.startswith(LOCAL_REPOSITORY))

    @property
    def may_be_id(self) -> bool:
        """Whether the name is also the beginning of an id, as `docker run` takes it."""
        is_plain = not self.registry and self.tag == "latest" and not self.digest
        return is_plain and bool(_SHORT_ID.fullmatch(self.repository))

    def in_registry(self, registry: str) -> ImageReference:
        """Return the name with a registry in front, unless it names one or is local.

        Args:
            registry: `host[:port]`, perhaps with a path behind it; empty for none.
        """
        if not registry or self.registry or self.is_local:
            return self
        host, slash, path = registry.partition("/")
        return replace(self, registry=host, repository=f"{path}{slash}{self.repository}")


def is_registry(component: str) -> bool:
    """Tell whether the first component of a name is a registry, by Docker's rule."""
    return "." in component or ":" in component or component == "localhost"


def is_registry_prefix(text: str) -> bool:
    """Tell whether a text is a registry, perhaps with a path behind it."""
    return bool(_REGISTRY.fullmatch(text)) and is_registry(text.partition("/")[0])
