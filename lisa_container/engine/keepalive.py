"""What keeps a long-lived container running: the image's `sleep`, its shell, or a program of ours.

The entrypoint of the image is overridden, so that the container does nothing until told. Tried in
this order; the last one needs nothing of the image.
"""

from __future__ import annotations

import struct

PAUSE_PATH = "/.lisa_container_pause"

# 68 years: `sleep infinity` is not known to every sleep.
SLEEP = ["sleep", "2147483647"]
# Reads a stdin that nobody writes to. No builtin of a shell waits for ever otherwise.
SHELL = ["sh", "-c", "while :; do read -r _ || exit; done"]
PAUSE = [PAUSE_PATH]

ENTRYPOINTS: list[list[str]] = [SLEEP, SHELL, PAUSE]

# Machine code of "for (;;) pause();" by the engine's name of the architecture, with ELF's e_machine.
_CODE: dict[str, tuple[int, bytes]] = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": (62, b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"),
    # mov x0..x4, 0; mov x8, 73 (ppoll); svc 0; b back
    "aarch64": (
        183,
        struct.pack(
            "<8I",
            0xD2800000,
            0xD2800001,
            0xD2800002,
            0xD2800003,
            0xD2800004,
            0xD2800928,
            0xD4000001,
            0x17FFFFF9,
        ),
    ),
}
_BASE = 0x400000


def pause_program(architecture: str) -> bytes | None:
    """A static ELF program that sleeps for ever, or None for an architecture we have none for.

    Args:
        architecture: as the engine names it in `GET /info` (`x86_64`, `aarch64`).
    """
    if architecture not in _CODE:
        return None
    machine, code = _CODE[architecture]
    header, program = 64, 56
    size = header + program + len(code)
    # elf(5): Ehdr, one Phdr (PT_LOAD, R+X), the code right behind.
    ehdr = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        machine,
        1,
        _BASE + header + program,
        header,
        0,
        0,
        header,
        program,
        1,
        0,
        0,
        0,
    )
    phdr = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ehdr + phdr + code
