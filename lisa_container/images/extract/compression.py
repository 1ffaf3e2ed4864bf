"""gzip and zstd, a piece at a time: however small the input, memory does not grow."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator

from lisa_container.images.extract.faults import Fault

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

_PIECE = 256 * 1024
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# RFC 8878: a frame to pass over has 0x184D2A50 to 0x184D2A5F, little-endian.
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4"}
# zlib: gzip's own header and checksum are expected.
_GZIP_WINDOW = 31


def is_compressed(head: bytes) -> bool:
    """Whether something begins as gzip or zstd does.

    Args:
        head: its first bytes, six at the least.

    Raises:
        Fault: it begins as something else does that we cannot unpack.
    """
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise Fault(f"it is compressed with {name}; legal: gzip, zstd, or not at all")
    return head.startswith(_GZIP) or _is_zstd(head)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What was compressed, or the same chunks where nothing was.

    Args:
        chunks: any sizes; what they are, their begin tells.

    Raises:
        Fault: it is damaged or cut off, or of another kind.
    """
    chunks = iter(chunks)
    head = b""
    while len(head) < 6:
        chunk = next(chunks, b"")
        if not chunk:
            break
        head += chunk
    if not is_compressed(head):
        yield head
        yield from chunks
    elif head.startswith(_GZIP):
        yield from _gunzip(head, chunks)
    else:
        yield from _unzstd(head, chunks)


def _is_zstd(head: bytes) -> bool:
    is_skippable = head[1:4] == _ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50
    return head.startswith(_ZSTD) or is_skippable


def _gunzip(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for chunk in _all(head, chunks):
            while chunk:
                if engine.eof:
                    chunk = chunk.lstrip(b"\0")  # padding, as tapes have it
                    if not chunk:
                        break
                    engine = zlib.decompressobj(_GZIP_WINDOW)
                data = engine.decompress(chunk, _PIECE)
                while data:
                    yield data
                    data = engine.decompress(engine.unconsumed_tail, _PIECE)
                chunk = engine.unused_data
    except zlib.error as error:
        raise Fault(f"its gzip data is damaged: {error}") from error
    if not engine.eof:
        raise Fault("its gzip data is cut off")


def _unzstd(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    engine = ZstdDecompressor()
    try:
        for chunk in _all(head, chunks):
            while chunk:
                if engine.eof:
                    engine = ZstdDecompressor()
                data = engine.decompress(chunk, _PIECE)
                while data or not (engine.eof or engine.needs_input):
                    if data:
                        yield data
                    if engine.eof:
                        break
                    data = engine.decompress(b"", _PIECE)
                chunk = engine.unused_data if engine.eof else b""
    except ZstdError as error:
        raise Fault(f"its zstd data is damaged: {error}") from error
    if not engine.eof:
        raise Fault("its zstd data is cut off")


def _all(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks
