"""Packing layers for the network: compressed where that saves time, once for all nodes."""

from __future__ import annotations

import os
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Callable

from lisa_container.errors import ImageArchiveError
from lisa_container.images.extract.compression import decompressed, is_compressed
from lisa_container.images.extract.faults import faults_of
from lisa_container.images.extract.source import pieces_at
from lisa_container.images.send.shipment import ShippedLayer

# gzip, because Docker before 23 knows nothing better, at its quickest level: on a network that is
# slow enough for compression, a higher level saves a few percent and takes twice the time.
_LEVEL = 1
_GZIP_WINDOW = 31
_GZIP = b"\x1f\x8b"

# Bytes of a block, and threads that compress blocks. zlib releases Python's lock.
_BLOCK = 1024 * 1024
_WORKERS = min(8, os.cpu_count() or 1)

# Bytes of a layer that are compressed as a sample. The layer is compressed if the sample shrinks to
# this part of its size.
_SAMPLE = 1024 * 1024
_WORTH = 0.9


@dataclass(frozen=True)
class PackedLayer:
    """Layer in the form in which it is sent.

    Args:
        layer: the original.
        size: bytes that `chunks` gives.
        chunks: gives the content in pieces; several threads may call it at once.
    """

    layer: ShippedLayer
    size: int
    chunks: Callable[[], Iterator[bytes]]


class Packer:
    """Packer of layers, each once; a context manager, which deletes the packed layers.

    A layer that is compressed already, or hardly shrinks, is sent as it is. Any other is written to
    a file without a name in the folder for temporary files, so that memory does not grow.

    Args:
        compress: whether to compress layers. A layer in a format that engines may not know is
            unpacked in any case.
    """

    def __init__(self, compress: bool = True) -> None:
        """Begin without a packed layer."""
        self._is_compressing = compress
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._packed: dict[str, PackedLayer] = {}
        self._files: list[tempfile._TemporaryFileWrapper[bytes]] = []

    def __enter__(self) -> Packer:
        """Return the packer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete the temporary files."""
        for file in self._files:
            file.close()

    def pack(self, layer: ShippedLayer) -> PackedLayer:
        """Return the packed layer; pack it at the first call. Threads wait for the same layer.

        Raises:
            ImageArchiveError: the layer cannot be read, or this machine's disk is full.
        """
        with self._lock:
            lock = self._locks.setdefault(layer.diff_id, threading.Lock())
        with lock:
            if layer.diff_id not in self._packed:
                what = f"layer {layer.diff_id[:19]}"
                with faults_of(what):
                    self._packed[layer.diff_id] = self._pack(layer, what)
            return self._packed[layer.diff_id]

    def _pack(self, layer: ShippedLayer, what: str) -> PackedLayer:
        sample = _sample(layer.chunks())
        if sample.startswith(_GZIP):
            return PackedLayer(layer, layer.size, layer.chunks)
        is_zstd = is_compressed(sample)  # a format that not every engine knows
        if not is_zstd and not self._is_worth_compressing(sample):
            return PackedLayer(layer, layer.size, layer.chunks)
        chunks = decompressed(layer.chunks()) if is_zstd else layer.chunks()
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115
            self._files.append(file)  # type: ignore[arg-type]
            for piece in _compress(chunks):
                file.write(piece)
            file.flush()
        except OSError as error:
            raise ImageArchiveError(
                what,
                f"it cannot be compressed in {tempfile.gettempdir()} ({error.strerror}); set "
                "TMPDIR to another folder",
            ) from error
        size = file.tell()
        return PackedLayer(layer, size, lambda: pieces_at(file.fileno(), 0, size))

    def _is_worth_compressing(self, sample: bytes) -> bool:
        return self._is_compressing and len(zlib.compress(sample, _LEVEL)) < _WORTH * len(sample)


def _sample(chunks: Iterable[bytes]) -> bytes:
    sample = b""
    for chunk in chunks:
        sample += chunk
        if len(sample) >= _SAMPLE:
            break
    return sample[:_SAMPLE]


def _compress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress with gzip on all processors, in separate members that every gzip reader joins."""
    with ThreadPoolExecutor(_WORKERS, "pack") as workers:
        waiting: deque[Future[bytes]] = deque()
        for block in _blocks(chunks):
            waiting.append(workers.submit(_gzip, block))
            if len(waiting) > 2 * _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _gzip(block: bytes) -> bytes:
    engine = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return engine.compress(block) + engine.flush()
