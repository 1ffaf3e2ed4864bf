"""Programs of a few bytes that run in any container, whatever its image lacks.

An image may hold nothing but one static binary. What we must be able to do in any container, to
keep it running and to signal a process in it, is therefore given as machine code where the image
has no shell: one static ELF file of some 200 bytes, put in through the engine's archive call.
"""

from __future__ import annotations

import struct
from typing import Callable

HELPER_FOLDER = "/.lisa_container"
"""Where these programs are put: an anonymous volume, so that an image is not changed and a
container with a read-only root can have them too."""

# Where the code is loaded: any address not too low for the kernel's mmap_min_addr.
_BASE = 0x400000
_ELF_HEADER, _PROGRAM_HEADER = 64, 56


def pause_program(architecture: str) -> bytes | None:
    """A program that sleeps for ever, or None for an architecture we have none for.

    Args:
        architecture: as the engine names it in `GET /info` (`x86_64`, `aarch64`).
    """
    if architecture not in _PAUSE:
        return None
    return _elf(_MACHINES[architecture], _PAUSE[architecture])


def kill_program(architecture: str, pid: int, number: int, path: str) -> bytes | None:
    """A program that signals a process (or a group) and removes its own file.

    Its exit code is that of the kill(2) call: 0, or the error's number.

    Args:
        architecture: as for `pause_program`.
        pid: as for kill(2), so negative for a process group.
        number: of the signal.
        path: absolute path the program is put at.
    """
    if architecture not in _KILL:
        return None
    return _elf(_MACHINES[architecture], _KILL[architecture](pid, number, path))


# ELF's e_machine (elf(5)).
_MACHINES = {"x86_64": 62, "aarch64": 183}

_PAUSE: dict[str, bytes] = {
    # for (;;) pause();    mov eax, 34; syscall; jmp back
    "x86_64": b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7",
    # for (;;) ppoll(0, 0, 0, 0, 0);    mov x0..x4, 0; mov x8, 73; svc 0; b back
    "aarch64": struct.pack(
        "<8I",
        *(0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800004),
        *(0xD2800928, 0xD4000001, 0x17FFFFF9),
    ),
}


def _kill_x86_64(pid: int, number: int, path: str) -> bytes:
    head = struct.pack("<Bi", 0xBF, pid)  # mov edi, pid
    head += struct.pack("<BI", 0xBE, number)  # mov esi, number
    head += b"\xb8\x3e\x00\x00\x00\x0f\x05"  # mov eax, 62 (kill); syscall
    head += b"\x89\xc3"  # mov ebx, eax
    tail = b"\xb8\x57\x00\x00\x00\x0f\x05"  # mov eax, 87 (unlink); syscall
    tail += b"\x89\xdf\xf7\xdf"  # mov edi, ebx; neg edi
    tail += b"\xb8\x3c\x00\x00\x00\x0f\x05"  # mov eax, 60 (exit); syscall
    lea = b"\x48\x8d\x3d" + struct.pack("<i", len(tail))  # lea rdi, [path]
    return head + lea + tail + path.encode() + b"\0"


def _kill_aarch64(pid: int, number: int, path: str) -> bytes:
    words = [
        0x180001A0,  # ldr w0, pid
        0x180001A1,  # ldr w1, number
        0xD2801028,  # mov x8, 129 (kill)
        0xD4000001,  # svc 0
        0x2A0003F3,  # mov w19, w0
        0x12800C60,  # mov w0, -100 (AT_FDCWD)
        0x10000121,  # adr x1, path
        0x52800002,  # mov w2, 0
        0xD2800468,  # mov x8, 35 (unlinkat)
        0xD4000001,  # svc 0
        0x4B1303E0,  # neg w0, w19
        0xD2800BA8,  # mov x8, 93 (exit)
        0xD4000001,  # svc 0
    ]
    return struct.pack("<13IiI", *words, pid, number) + path.encode() + b"\0"


_KILL: dict[str, Callable[[int, int, str], bytes]] = {
    "x86_64": _kill_x86_64,
    "aarch64": _kill_aarch64,
}


def _elf(machine: int, code: bytes) -> bytes:
    """A static executable: the ELF header, one segment that is read and executed, the code."""
    start = _ELF_HEADER + _PROGRAM_HEADER
    size = start + len(code)
    ehdr = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little endian
        *(2, machine, 1, _BASE + start),  # an executable, and where it starts
        *(_ELF_HEADER, 0, 0),
        *(_ELF_HEADER, _PROGRAM_HEADER, 1, 0, 0, 0),
    )
    phdr = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ehdr + phdr + code
