"""An image as an archive has it, and how to say which one is meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lisa_container.images.names import with_registry, with_tag
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
        config_bytes: as it is there.
        layers: the lowest first.
    """

    names: tuple[str, ...]
    digest: str
    config_digest: str
    config: dict[str, Any]
    config_bytes: bytes = field(repr=False)
    layers: tuple[StoredLayer, ...]

    @property
    def platform(self) -> str:
        """`os/architecture[/variant]`."""
        return platform_of(self.config)


def is_called(wanted: str, names: tuple[str, ...]) -> bool:
    """Whether one of an image's names is the wanted one, however long either is written."""
    return (
        with_tag(with_registry(wanted)) in {with_tag(with_registry(name)) for name in names}
        or wanted in names
    )


def none_of(what: str, wanted: str, there: list[str]) -> str:
    """What to say where nothing fits: what was wanted, and what is there."""
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(there)) or "none with a name"
    return f"{what} '{wanted}'; there: {listed}"


def which(names: list[str]) -> str:
    """What to say where more than one fits."""
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(names)) or "none has a name"
    return f"it has more than one image; say which with image=…: {listed}"
