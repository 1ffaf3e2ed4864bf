"""Content of a file in a layer: bytes, or a file of this machine that is read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lisa_container.errors import ConfigError, ImageArchiveError

CHUNK = 256 * 1024


def size_of(content: bytes | Path) -> int:
    """Return the size of a content in bytes.

    Raises:
        ConfigError: the file is missing or cannot be accessed.
    """
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError as error:
        raise unreadable(content, error) from error


def head_of(content: bytes | Path, size: int) -> bytes:
    """Return the first bytes of a content.

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
    """Yield the whole content in pieces.

    Args:
        content: bytes, or a file.
        size: size of the content when the image was made.

    Raises:
        ImageArchiveError: the file cannot be read, or its size has changed.
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
    """Return the error for a file that has changed since the image was made."""
    return ImageArchiveError(
        str(content),
        "the file changed after the image was made: call image_from_layers again",
    )


def unreadable(path: Path, error: OSError) -> ConfigError:
    """Return the error for a path of this machine that cannot be read."""
    return ConfigError(f"layers: '{path}' cannot be read on this machine: {error.strerror}")
