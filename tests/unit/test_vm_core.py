"""Notes of an ELF core: VMCOREINFO is found in the memory, and put among the notes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lisa_container.errors import VmError
from lisa_container.microvm.frozen.elf import add_vmcoreinfo

PAGE = 4096
INFO = b"OSRELEASE=6.1.0-57-cloud-amd64\nPAGESIZE=4096\n"
CPU = struct.pack("<III", 5, 4, 1) + b"CORE\0\0\0\0" + b"regs"


def note(info: bytes = INFO) -> bytes:
    """Return the kernel's note, padded."""
    head = struct.pack("<III", 11, len(info), 0)
    return head + b"VMCOREINFO\0\0" + info + bytes(-len(info) % 4)


def make_core(file: Path, memory: bytes, notes: bytes = CPU) -> Path:
    """Write a core with a note of a processor and one range of memory."""
    begin = 64 + 2 * 56
    load = begin + len(notes)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    table = struct.pack("<IIQQQQQQ", 4, 0, begin, 0, 0, len(notes), len(notes), 0)
    table += struct.pack("<IIQQQQQQ", 1, 0, load, 0, 0, len(memory), len(memory), 0)
    file.write_bytes(header + table + notes + memory)
    return file


def notes_of(file: Path) -> bytes:
    content = file.read_bytes()
    (offset,) = struct.unpack_from("<Q", content, 64 + 8)
    (size,) = struct.unpack_from("<Q", content, 64 + 32)
    return content[offset : offset + size]


def memory_with(*notes: tuple[int, bytes]) -> bytes:
    memory = bytearray(8 * PAGE)
    for at, content in notes:
        memory[at : at + len(content)] = content
    return bytes(memory)


def test_added_once(tmp_path: Path) -> None:
    """Words like it elsewhere in the memory are not taken for it."""
    other = note(b"OSRELEASE=other\n")
    memory = memory_with((PAGE + 100, other), (5 * PAGE, note()))
    core = make_core(tmp_path / "core", memory)
    for _ in range(2):
        assert add_vmcoreinfo(core) == "6.1.0-57-cloud-amd64"
        assert notes_of(core) == CPU + note()
    assert memory in core.read_bytes()


@pytest.mark.parametrize(
    "memory",
    [
        memory_with(),
        memory_with((8, note())),
        memory_with((PAGE, struct.pack("<I", 7) + note()[4:])),
    ],
    ids=["nothing", "inside a page", "another name"],
)
def test_absent(memory: bytes, tmp_path: Path) -> None:
    core = make_core(tmp_path / "core", memory)
    before = core.read_bytes()
    assert add_vmcoreinfo(core) == ""
    assert core.read_bytes() == before


def test_no_core(tmp_path: Path) -> None:
    (tmp_path / "core").write_bytes(bytes(PAGE))
    with pytest.raises(VmError, match="is no ELF core"):
        add_vmcoreinfo(tmp_path / "core")
