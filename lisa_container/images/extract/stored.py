"""An image as an archive has it, and how to say which one is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lisa_container.images.platform import platform_of


@dataclass(frozen=True)
class StoredLayer:
    """A layer as an archive has it.

    Args:
        name: path in the archive.
        diff_id: digest of its tar, uncompressed.
        digest: of the file as it is there; empty where the archive does not tell.
        size: of the file in bytes, or -1.
    """

    name: str
    diff_id: str
    digest: str = ""
    size: int = -1


@dataclass(frozen=True)
class StoredImage:
    """An image as an archive has it.

    Args:
        names: what it is called there.
        digest: of its manifest; of its config where the archive has no manifest.
        config_digest: what the engine calls it.
        config: parsed.
        layers: the lowest first.
    """

    names: tuple[str, ...]
    digest: str
    config_digest: str
    config: dict[str, Any]
    layers: tuple[StoredLayer, ...]

    @property
    def platform(self) -> str:
        """`os/architecture[/variant]`."""
        return platform_of(self.config)


def is_called(wanted: str, names: tuple[str, ...]) -> bool:
    return full_name(wanted) in {full_name(name) for name in names} or wanted in names


def full_name(name: str) -> str:
    """`debian` is `docker.io/library/debian:latest`."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def none_of(what: str, wanted: str, there: list[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(there)) or "none with a name"
    return f"{what} '{wanted}'; there: {listed}"


def which(names: list[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(names)) or "none has a name"
    return f"it has more than one image; say which with image=…: {listed}"
