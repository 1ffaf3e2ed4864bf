"""Reader of tar archives that may be hostile.

Python's `tarfile` trusts its input: it reads a header of a gigabyte into memory, and a crafted
header made it loop for ever (CVE-2025-8194). This reader only moves forward, holds at most one
header, and interprets entries as Go's archive/tar does, which Docker and containerd use.

Formats: v7, ustar, pax, GNU (long names), star. https://pubs.opengroup.org/onlinepubs/9699919799/,
pax; https://pkg.go.dev/archive/tar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable, Protocol

from lisa_container.archives.sparse import (
    SPARSE,
    Segments,
    SparseError,
    check_map,
    read_old_map,
    read_pax_map,
)
from lisa_container.errors import ContainerError, ImageArchiveError

BLOCK = 512
_PIECE = 256 * 1024
_ZERO = bytes(BLOCK)
# Bytes of a long name, or of all pax records of an entry; Go's maxSpecialFileSize.
_MOST_SPECIAL = 1024 * 1024
# Headers before one entry. Three are usual; a hostile archive could send them without end.
_MOST_HEADERS = 100
_LARGEST_ID = 2**32 - 2
_LARGEST_SIZE = 2**63 - 1
# Seconds since 1970 at the end of the year 9999.
_LARGEST_TIME = 253402300799

FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)
_KINDS = {FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO}
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _SPARSE = b"x", b"g", b"L", b"K", b"S"
_CONTIGUOUS = b"7"

_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_TIME = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?")
XATTR = "SCHILY.xattr."
"""Prefix of the pax record of an extended attribute, as Go's archive/tar and star write it."""
_XATTR = XATTR.encode()


class Fault(Exception):  # noqa: N818
    """The archive is malformed, or is not of the expected kind."""

    error: type[ContainerError] = ImageArchiveError


def quote(path: bytes) -> str:
    """Return a path of an archive in quotes for a message, escaped and at most 200 characters."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return f"'{text if len(text) <= 200 else text[:200] + '…'}'"


class Source(Protocol):
    """Stream of bytes that a tar is read from."""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""

    def read_some(self, most: int) -> bytes:
        """Return between 1 and `most` bytes, those available first; none only at the end."""

    def skip(self, size: int) -> int:
        """Skip the next `size` bytes; return how many there were."""


class StreamSource:
    """`Source` made of chunks of bytes.

    Args:
        chunks: chunks of any size. Only the last one may be empty.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """Start before the first chunk."""
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """See `Source`."""
        pieces = []
        while size:
            piece = self.read_some(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> int:
        """See `Source`."""
        left = size
        while left:
            piece = self.read_some(left)
            if not piece:
                break
            left -= len(piece)
        return size - left

    def drain(self, most: int | None = None) -> bool:
        """Skip what is left and return whether the end was reached.

        Args:
            most: stop after this number of bytes; None: no limit.
        """
        while most is None or most > 0:
            passed = self.skip(_PIECE)
            if not passed:
                return True
            most = None if most is None else most - passed
        return False

    def read_some(self, most: int) -> bytes:
        """See `Source`."""
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        piece = self._chunk[self._at : self._at + most]
        self._at += len(piece)
        return piece


@dataclass
class TarEntry:
    """Entry of an archive.

    Attributes:
        name: its name, unchanged.
        kind: one of the constants `FILE` to `FIFO`.
        size: bytes of content.
        mode: the twelve permission bits.
        mtime: nanoseconds since 1970.
        link: target of a link.
        holes: bytes of the content that the archive does not hold, in a sparse file.
    """

    name: bytes
    kind: bytes = FILE
    size: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    holes: int = 0


class TarReader:
    """Iterator over the entries of an archive, in order.

    Args:
        source: the uncompressed archive.
        takes_sparse: accept sparse files in the pax formats. Read their content with `parts`.
        takes_old_sparse: accept them in GNU tar's old format, too, which engines refuse in images.
    """

    def __init__(
        self, source: Source, takes_sparse: bool = False, takes_old_sparse: bool = False
    ) -> None:
        """Start before the first entry."""
        self.ended = False
        """Whether the archive's end marker was read."""
        self._source = source
        self._takes_sparse = takes_sparse
        self._takes_old_sparse = takes_old_sparse
        self._segments: Segments | None = None
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        """Yield each entry. Read its content before the next one, or it is skipped.

        Raises:
            Fault: the archive is malformed.
        """
        while True:
            entry = self._next()
            if entry is None:
                return
            yield entry

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current entry in pieces."""
        while self._left:
            piece = self._source.read_some(min(self._left, _PIECE))
            if not piece:
                raise Fault("it is cut off in the middle of a file")
            self._left -= len(piece)
            yield piece

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """Yield the content of the current entry in pieces, each with its offset in the file.

        The rest of the file is zeros.
        """
        if self._segments is None:
            at = 0
            for piece in self.content():
                yield at, piece
                at += len(piece)
            return
        for at, length in self._segments:
            while length:
                piece = self._source.read_some(min(length, _PIECE))
                if not piece:
                    raise Fault("it is cut off in the middle of a file")
                self._left -= len(piece)
                yield at, piece
                at, length = at + len(piece), length - len(piece)

    def _next(self) -> TarEntry | None:
        records: dict[bytes, bytes] = {}
        long_name = long_link = b""
        for _ in range(_MOST_HEADERS):
            self._pass_over()
            block = self._block()
            if block is None:
                if records or long_name or long_link:
                    raise Fault("it is cut off behind a header")
                return None
            kind = block[156:157]
            size = _number(block[124:136])
            if not 0 <= size <= _LARGEST_SIZE:
                raise Fault(f"an entry has a size of {size} bytes")
            if kind == _PAX:
                records = _records(self._special(size))
            elif kind == _PAX_GLOBAL:
                self._special(size)  # ignored, as Docker does
            elif kind == _LONG_NAME:
                long_name = self._special(size).partition(b"\0")[0]
            elif kind == _LONG_LINK:
                long_link = self._special(size).partition(b"\0")[0]
            else:
                return self._entry(block, kind, size, records, long_name, long_link)
        raise Fault(f"an entry has more than {_MOST_HEADERS} headers")

    def _entry(
        self,
        block: bytes,
        kind: bytes,
        size: int,
        records: dict[bytes, bytes],
        long_name: bytes,
        long_link: bytes,
    ) -> TarEntry:
        name = long_name or records.get(b"path") or _name(block)
        is_sparse = kind == _SPARSE or any(key.startswith(SPARSE) for key in records)
        if is_sparse and not (self._takes_old_sparse if kind == _SPARSE else self._takes_sparse):
            raise Fault(f"{quote(name)} is a sparse file in a format that engines do not take")
        if is_sparse:
            name = records.get(SPARSE + b"name") or name
            kind = FILE if kind == _SPARSE else kind
        if kind in (b"\0", _CONTIGUOUS):
            kind = FOLDER if kind == b"\0" and name.endswith(b"/") else FILE
        if kind not in _KINDS:
            raise Fault(f"{quote(name)} is of an unknown kind, {kind!r}")
        entry = TarEntry(
            name=name,
            kind=kind,
            size=_decimal(records, b"size", size, _LARGEST_SIZE) if kind == FILE else 0,
            mode=_number(block[100:108]) & 0o7777,
            uid=_decimal(records, b"uid", _number(block[108:116]), _LARGEST_ID),
            gid=_decimal(records, b"gid", _number(block[116:124]), _LARGEST_ID),
            mtime=_time(records, _number(block[136:148])),
            link=long_link or records.get(b"linkpath") or _text(block[157:257]),
            xattrs={
                key[len(_XATTR) :]: value
                for key, value in records.items()
                if key.startswith(_XATTR)
            },
        )
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.major, entry.minor = _number(block[329:337]), _number(block[337:345])
            if not (0 <= entry.major < 2**12 and 0 <= entry.minor < 2**20):
                raise Fault(f"{quote(name)} is a device with impossible numbers")
        if b"\0" in name or b"\0" in entry.link:
            raise Fault(f"{quote(name)} has a zero byte in its name or target")
        self._expect(entry.size)
        self._segments = None
        if is_sparse and kind == FILE:
            try:
                self._read_map(entry, block, records)
            except SparseError as error:
                raise Fault(f"the map of the sparse file {quote(name)}: {error}") from error
        return entry

    def _read_map(self, entry: TarEntry, block: bytes, records: dict[bytes, bytes]) -> None:
        """Read the map of a sparse file, and set the entry's size to that of the whole file."""
        if block[156:157] == _SPARSE:
            entry.size, segments = read_old_map(block, _number, lambda: self._read_all(BLOCK))
        else:
            entry.size, segments = read_pax_map(records, _Lines(self._take_block).next)
        self._segments = check_map(entry.size, segments, self._left)
        entry.holes = entry.size - self._left

    def _take_block(self) -> bytes:
        if self._left < BLOCK:
            raise SparseError("it is cut off")
        self._left -= BLOCK
        return self._read_all(BLOCK)

    def _expect(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _pass_over(self) -> None:
        size = self._left + self._padding
        # Docker's reader accepts an archive whose last padding is missing.
        if size and self._source.skip(size) < self._left:
            raise Fault("it is cut off in the middle of a file")
        self._expect(0)

    def _special(self, size: int) -> bytes:
        if size > _MOST_SPECIAL:
            raise Fault(f"a header of {size} bytes; legal: at most {_MOST_SPECIAL}")
        data = self._read_all(size)
        self._left, self._padding = 0, -size % BLOCK
        return data

    def _read_all(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) < size:
            raise Fault("it is cut off in the middle of a header")
        return data

    def _block(self) -> bytes | None:
        """Return the next header; None at the end."""
        block = self._source.read(BLOCK)
        if block == _ZERO:
            block = self._source.read(BLOCK)
            if block in (_ZERO, b""):
                self.ended = block == _ZERO
                return None
            raise Fault("an empty block is between two entries")
        if not block:
            return None
        if len(block) < BLOCK:
            raise Fault("it is cut off in the middle of a header")
        given = _number(block[148:156])
        rest = block[:148] + b" " * 8 + block[156:]
        unsigned = sum(rest)
        # Some old programs summed the bytes as signed numbers.
        if given != unsigned and given != unsigned - 256 * sum(byte > 127 for byte in rest):
            raise Fault("the checksum of a header is wrong: it is damaged, or not a tar")
        return block


class _Lines:
    """Reader of the lines at the start of a sparse file's content, block by block."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._data = b""

    def next(self) -> bytes:
        """Return the next line, which must be short."""
        while b"\n" not in self._data:
            if len(self._data) > BLOCK:
                raise SparseError("a line of it does not end")
            self._data += self._more()
        line, _, self._data = self._data.partition(b"\n")
        return line


def _name(block: bytes) -> bytes:
    name = _text(block[:100])
    magic, version, trailer = block[257:263], block[263:265], block[508:512]
    if magic == b"ustar\0" and version == b"00":
        prefix = _text(block[345:476] if trailer == b"tar\0" else block[345:500])
        if prefix:
            return prefix + b"/" + name
    return name


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _number(data: bytes) -> int:
    """Parse a field of octal digits or, with the highest bit set, of a binary number."""
    if data[0] & 0x80:
        bits = 8 * len(data) - 1
        value = int.from_bytes(data, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if data[0] & 0x40 else value
    digits = _text(data.strip(b" \0"))
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise Fault("a number field in a header has no number: it is damaged, or not a tar")
    return int(digits, 8)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Parse pax records: each is `<length> <key>=<value>` and a newline, counted in the length."""
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > at else b""
        if not _DECIMAL.fullmatch(digits):
            raise Fault("a pax header is malformed")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space or end > len(data) or data[end - 1 : end] != b"\n" or not key or not equals:
            raise Fault("a pax header is malformed")
        if key in (SPARSE + b"offset", SPARSE + b"numbytes"):  # these are repeated
            sparse.append(value)
        records[key] = value
        at = end
    if sparse:
        records[SPARSE + b"map"] = b",".join(sparse)
    return records


def _decimal(records: dict[bytes, bytes], key: bytes, default: int, most: int) -> int:
    given = records.get(key)
    if given and not _DECIMAL.fullmatch(given):
        raise Fault(f"a pax header has {key.decode()}={given[:30]!r}")
    value = int(given) if given else default
    if not 0 <= value <= most:
        raise Fault(f"an entry has {key.decode()} {value}; legal: 0 to {most}")
    return value


def _time(records: dict[bytes, bytes], seconds: int) -> int:
    given = records.get(b"mtime")
    nanoseconds = seconds * 10**9
    if given:
        match = _TIME.fullmatch(given)
        if match is None:
            raise Fault(f"a pax header has mtime={given[:30]!r}")
        sign, whole, fraction = match.groups()
        nanoseconds = int(whole) * 10**9 + int((fraction or b"0")[:9].ljust(9, b"0"))
        if sign:
            nanoseconds = -nanoseconds
    if abs(nanoseconds) > _LARGEST_TIME * 10**9:
        raise Fault("an entry has an impossible time")
    return nanoseconds
