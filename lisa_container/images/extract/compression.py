"""Decompression of gzip and zstd in pieces, so that memory does not grow with the content."""

from __future__ import annotations

import itertools
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
# RFC 8878: a skippable frame starts with 0x184D2A50 to 0x184D2A5F, little-endian.
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4"}
# Tells zlib to expect gzip's header and checksum.
_GZIP_WINDOW = 31


def is_compressed(head: bytes) -> bool:
    """Tell whether content is compressed with gzip or zstd.

    Args:
        head: the first bytes of the content, at least six.

    Raises:
        Fault: the content is compressed in another format.
    """
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise Fault(f"it is compressed with {name}; legal: gzip, zstd or no compression")
    return head.startswith(_GZIP) or _is_zstd(head)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the decompressed content, or the same chunks if the content is not compressed.

    Args:
        chunks: content in chunks of any size; its first bytes tell the format.

    Raises:
        Fault: the content is damaged, cut off, or compressed in another format.
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
    decoder = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for chunk in itertools.chain([head], chunks):
            while chunk:
                if decoder.eof:
                    chunk = chunk.lstrip(b"\0")  # padding, as on tapes
                    if not chunk:
                        break
                    decoder = zlib.decompressobj(_GZIP_WINDOW)
                data = decoder.decompress(chunk, _PIECE)
                while data:
                    yield data
                    data = decoder.decompress(decoder.unconsumed_tail, _PIECE)
                chunk = decoder.unused_data
    except zlib.error as error:
        raise Fault(f"its gzip data is damaged: {error}") from error
    if not decoder.eof:
        raise Fault("its gzip data is cut off")


def _unzstd(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = ZstdDecompressor()
    try:
        for chunk in itertools.chain([head], chunks):
            while chunk:
                if decoder.eof:
                    decoder = ZstdDecompressor()
                data = decoder.decompress(chunk, _PIECE)
                while data or not (decoder.eof or decoder.needs_input):
                    if data:
                        yield data
                    if decoder.eof:
                        break
                    data = decoder.decompress(b"", _PIECE)
                chunk = decoder.unused_data if decoder.eof else b""
    except ZstdError as error:
        raise Fault(f"its zstd data is damaged: {error}") from error
    if not decoder.eof:
        raise Fault("its zstd data is cut off")
