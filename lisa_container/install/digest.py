"""The checksum of a file of this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK = 1 << 20


def file_digest(file: Path, kind: str = "sha256") -> str:
    """The checksum, in hex digits; the file is read a piece at a time.

    Args:
        file: of this machine.
        kind: as `hashlib.new` takes it.
    """
    summed = hashlib.new(kind)
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            summed.update(chunk)
    return summed.hexdigest()
