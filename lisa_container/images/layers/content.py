"""The content of a file of a layer: bytes, or a file of this machine read a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lisa_container.errors import ConfigError, ImageArchiveError

CHUNK = 256 * 1024


def size_of(content: bytes | Path) -> int:
    """How many bytes it has.

    Raises:
        ConfigError: the file is not there or cannot be looked at.
    """
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError as error:
        raise unreadable(content, error) from error


def head_of(content: bytes | Path, size: int) -> bytes:
    """Its first bytes.

    Raises:
        ConfigError: the file cannot be read.
    """
    if isinstance(content, bytes):
        return content[:size]
    try:
        with content.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(content, error) from error


def pieces_of(content: bytes | Path, size: int) -> Iterator[bytes]:
    """All of it.

    Args:
        content: the same as before.
        size: what `size_of` gave then.

    Raises:
        ImageArchiveError: the file cannot be read, or has another size by now.
    """
    if isinstance(content, bytes):
        yield content
        return
    left = size
    try:
        with content.open("rb") as file:
            while left:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise changed(content)
                left -= len(piece)
                yield piece
            if file.read(1):
                raise changed(content)
    except OSError as error:
        raise ImageArchiveError(str(content), f"it cannot be read: {error.strerror}") from error


def changed(content: Path | str) -> ImageArchiveError:
    """What to say of a file that is not what it was when the image was made of it."""
    return ImageArchiveError(
        str(content),
        "it was changed after the image was made of it: call image_from_layers again",
    )


def unreadable(path: Path, error: OSError) -> ConfigError:
    """What to say of a path of this machine that cannot be used."""
    return ConfigError(f"layers: '{path}' cannot be read on this machine: {error.strerror}")
