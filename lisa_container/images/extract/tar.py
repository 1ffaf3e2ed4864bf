"""Reading tar archives of strangers.

Python's `tarfile` is made for one's own: a header of a gigabyte is read into memory, and a crafted
one has had it turn in circles (CVE-2025-8194). This reader only goes forward, holds no more than
one header, and takes the entries as Go's archive/tar does, by which Docker and containerd see them.

Formats: v7, ustar, pax, GNU (long names), star. https://pubs.opengroup.org/onlinepubs/9699919799/,
pax; https://pkg.go.dev/archive/tar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from lisa_container.images.extract.faults import Fault, shown
from lisa_container.images.media import XATTR

BLOCK = 512
_PIECE = 256 * 1024
_ZERO = bytes(BLOCK)
# As Go's maxSpecialFileSize: of a long name or of all pax records of an entry.
_MOST_SPECIAL = 1024 * 1024
_LARGEST_ID = 2**32 - 2
_LARGEST_SIZE = 2**63 - 1
# What the kernel can keep as a time: 64 bits of seconds; but a year of five digits is none.
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
_XATTR = XATTR.encode()


class Source(Protocol):
    """What a tar is read from."""

    def read(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""

    def skip(self, size: int) -> int:
        """Pass over the next bytes; how many there were."""


@dataclass
class TarEntry:
    """One entry.

    Args:
        name: as it stands there.
        kind: one of the constants above.
        size: bytes of content.
        mode: the twelve permission bits.
        mtime: nanoseconds since 1970.
        link: where a link leads.
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


class TarReader:
    """The entries of an archive, in order.

    Args:
        source: of the uncompressed archive.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        """Each entry; its content is to be read before the next one is asked for, or passed over.

        Raises:
            Fault: the archive is malformed.
        """
        while True:
            entry = self._next()
            if entry is None:
                return
            yield entry

    def content(self) -> Iterator[bytes]:
        """The content of the present entry, a piece at a time."""
        while self._left:
            piece = self._source.read(min(self._left, _PIECE))
            if not piece:
                raise Fault("it is cut off in the middle of a file")
            self._left -= len(piece)
            yield piece

    def _next(self) -> TarEntry | None:
        records: dict[bytes, bytes] = {}
        long_name = long_link = b""
        while True:
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
                self._expect(size)  # ignored, as Docker does
            elif kind == _LONG_NAME:
                long_name = self._special(size).partition(b"\0")[0]
            elif kind == _LONG_LINK:
                long_link = self._special(size).partition(b"\0")[0]
            else:
                return self._entry(block, kind, size, records, long_name, long_link)

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
        if kind == _SPARSE or any(key.startswith(b"GNU.sparse") for key in records):
            raise Fault(f"{shown(name)} is a sparse file of GNU tar, which images do not have")
        if kind in (b"\0", _CONTIGUOUS):
            kind = FOLDER if kind == b"\0" and name.endswith(b"/") else FILE
        if kind not in _KINDS:
            raise Fault(f"{shown(name)} is of an unknown kind, {kind!r}")
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
                raise Fault(f"{shown(name)} is a device of impossible numbers")
        if b"\0" in name or b"\0" in entry.link:
            raise Fault(f"{shown(name)} has a zero byte in its name or target")
        self._expect(entry.size)
        return entry

    def _expect(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _pass_over(self) -> None:
        size = self._left + self._padding
        # Docker's own reader lets the last padding be missing.
        if size and self._source.skip(size) < self._left:
            raise Fault("it is cut off in the middle of a file")
        self._expect(0)

    def _special(self, size: int) -> bytes:
        if size > _MOST_SPECIAL:
            raise Fault(f"a header of {size} bytes; legal: at most {_MOST_SPECIAL}")
        data = self._source.read(size)
        if len(data) < size:
            raise Fault("it is cut off in the middle of a header")
        self._left, self._padding = 0, -size % BLOCK
        return data

    def _block(self) -> bytes | None:
        """The next header; None at the end."""
        block = self._source.read(BLOCK)
        if block == _ZERO:
            block = self._source.read(BLOCK)
            if block in (_ZERO, b""):
                return None
            raise Fault("an empty block stands between two entries")
        if not block:
            return None
        if len(block) < BLOCK:
            raise Fault("it is cut off in the middle of a header")
        given = _number(block[148:156])
        rest = block[:148] + b" " * 8 + block[156:]
        unsigned = sum(rest)
        # Some old programs took the bytes for signed.
        if given != unsigned and given != unsigned - 256 * sum(byte > 127 for byte in rest):
            raise Fault("the checksum of a header is wrong: it is damaged, or no tar")
        return block


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
    """Octal digits or, with the highest bit set, a binary number."""
    if data[0] & 0x80:
        bits = 8 * len(data) - 1
        value = int.from_bytes(data, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if data[0] & 0x40 else value
    digits = _text(data.strip(b" \0"))
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise Fault("a number in a header is none: it is damaged, or no tar")
    return int(digits, 8)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Pax records: `<length> <key>=<value>\\n`, the length being that of all of it."""
    records: dict[bytes, bytes] = {}
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
        records[key] = value
        at = end
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
        raise Fault("an entry is of a time that no clock has")
    return nanoseconds
