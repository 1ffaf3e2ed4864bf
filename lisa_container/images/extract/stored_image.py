"""`StoredImage`: an image as an archive has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lisa_container.config import ImageReference
from lisa_container.images.platform import platform_of


@dataclass(frozen=True)
class StoredLayer:
    """Layer as an archive has it.

    Args:
        name: path of the layer's file in the archive.
        diff_id: digest of its uncompressed tar.
        digest: digest of the file; empty where the archive does not have it.
        size: bytes of the file; -1 where the archive does not have it.
    """

    name: str
    diff_id: str
    digest: str = ""
    size: int = -1


@dataclass(frozen=True)
class StoredImage:
    """Image as an archive has it.

    Args:
        names: names of the image in the archive.
        digest: digest of the manifest, or of the config in an archive without manifests.
        config_digest: digest of the config, by which engines name the image.
        config: the parsed config.
        config_bytes: the config as the archive has it.
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
    """Tell whether one of an image's names is the wanted one, in its full or a shorter form."""
    if wanted in names:
        return True
    references = [ImageReference.try_parse(name) for name in (wanted, *names)]
    full, *others = [each.full if each is not None else None for each in references]
    return full is not None and full in others


def none_of(what: str, wanted: str, choices: list[str]) -> str:
    """Return the message for an archive where nothing matches."""
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(choices)) or "none with a name"
    return f"{what} '{wanted}'; the archive has: {listed}"


def which(names: list[str]) -> str:
    """Return the message for an archive where several images match."""
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(names)) or "none has a name"
    return f"it has more than one image; choose one with image=…: {listed}"
