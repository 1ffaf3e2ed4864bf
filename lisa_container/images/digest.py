"""Digests of bytes, of streams and of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 20


class Digester:
    """Digest and size of a stream, taken while it passes.

    Args:
        algorithm: as `hashlib.new` takes it.
    """

    def __init__(self, algorithm: str = "sha256") -> None:
        """Begin with no bytes."""
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.size = 0
        """Bytes so far."""

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks unchanged, and count each."""
        for chunk in chunks:
            self.update(chunk)
            yield chunk

    def update(self, chunk: bytes) -> None:
        """Count one chunk."""
        self._hash.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> str:
        """Digest of the bytes so far, `algorithm:digits` (image-spec, descriptor.md)."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes, such as `sha256:…`."""
    digester = Digester(algorithm)
    digester.update(content)
    return digester.digest


def algorithm_of(digest: str) -> str:
    """Return the algorithm of a digest, such as `sha256`."""
    return digest.partition(":")[0]


def file_digest(file: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file of this machine, in hex digits; memory does not grow with it.

    Args:
        file: path of the file.
        algorithm: as `hashlib.new` takes it.
    """
    digester = Digester(algorithm)
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digester.update(chunk)
    return digester.digest.partition(":")[2]
