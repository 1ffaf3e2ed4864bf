"""Tiny programs that run in a container whose image has no shell.

An image may consist of one static binary. To keep such a container running, and to signal a process
in it, a static ELF file of some 200 bytes is copied into it by the engine's archive request.
"""

from __future__ import annotations

import struct
from typing import Callable

HELPER_FOLDER = "/.lisa_container"
"""Folder of these programs in a container: an anonymous volume. So the image is not changed, and it
works with a read-only root, too."""

# Address of the code: any that is not below the kernel's mmap_min_addr.
_BASE = 0x400000
_ELF_HEADER, _PROGRAM_HEADER = 64, 56


def pause_program(architecture: str) -> bytes | None:
    """Return a program that sleeps for ever, or None for an unsupported architecture.

    Args:
        architecture: Architecture as in the engine's `GET /info`: `x86_64` with Docker, `amd64`
            with Podman.
    """
    machine = machine_of(architecture)
    return _elf(_MACHINES[machine], _PAUSE[machine]) if machine in _PAUSE else None


def kill_program(architecture: str, pid: int, number: int, path: str) -> bytes | None:
    """Return a program that sends a signal and removes its own file.

    The program's exit code is 0, or the error number of kill(2).

    Args:
        architecture: See `pause_program`.
        pid: Process id as for kill(2), so negative for a process group.
        number: Signal number.
        path: Absolute path of the program in the container.

    Returns:
        The program; None for an unsupported architecture.
    """
    machine = machine_of(architecture)
    return _elf(_MACHINES[machine], _KILL[machine](pid, number, path)) if machine in _KILL else None


def machine_of(architecture: str) -> str:
    """Return the kernel's name of an architecture, from that or Go's name."""
    return _GO_NAMES.get(architecture, architecture)


_GO_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}

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
    """Return a static executable: the ELF header, one executable segment, and the code."""
    start = _ELF_HEADER + _PROGRAM_HEADER
    size = start + len(code)
    ehdr = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little endian
        *(2, machine, 1, _BASE + start),  # an executable, and its entry point
        *(_ELF_HEADER, 0, 0),
        *(_ELF_HEADER, _PROGRAM_HEADER, 1, 0, 0, 0),
    )
    phdr = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ehdr + phdr + code
