"""UEFI firmware of this machine, found by the descriptions that QEMU and distributions ship.

Each file describes one firmware; QEMU's docs/interop/firmware.json explains the fields. Files are
read in the order of their names, which is that of preference.
"""

from __future__ import annotations

import fnmatch
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_container.errors import VmMachineError

_FOLDERS = (
    Path("/etc/qemu/firmware"),
    Path("/usr/local/share/qemu/firmware"),
    Path("/usr/share/qemu/firmware"),
)
# Machine of the descriptions, where it has a version at its end.
_MACHINE = "pc-q35-1"
_ARCHITECTURE = "x86_64"
# Firmware that starts only signed boot loaders.
_UNWANTED = {"secure-boot", "requires-smm"}


@dataclass(frozen=True)
class Uefi:
    """UEFI firmware.

    Attributes:
        code: file of the firmware.
        variables: file with the variables of a new machine, to be copied for each VM.
    """

    code: Path
    variables: Path


def find_uefi() -> Uefi:
    """Return this machine's UEFI firmware without Secure Boot.

    Raises:
        VmMachineError: there is none.
    """
    for folder in _FOLDERS:
        # A folder that does not exist has no files.
        for description in sorted(folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found = _read(json.loads(description.read_text(encoding="utf-8")))
                if found is not None:
                    return found
    raise VmMachineError(
        "a virtual machine with UEFI needs firmware, and this machine has none; on Debian and"
        " Ubuntu: `apt-get install -y --no-install-recommends ovmf`. If the image boots by BIOS,"
        " set 'firmware_type' to 'bios'"
    )


def _read(description: dict[str, Any]) -> Uefi | None:
    """Return the firmware of a description, or None if it is of another kind."""
    fits = (
        "uefi" in description["interface-types"]
        and not _UNWANTED & set(description["features"])
        and any(
            target["architecture"] == _ARCHITECTURE
            and any(fnmatch.fnmatch(_MACHINE, pattern) for pattern in target["machines"])
            for target in description["targets"]
        )
    )
    mapping = description["mapping"]
    if not fits or mapping["device"] != "flash" or mapping["executable"]["format"] != "raw":
        return None
    found = Uefi(
        Path(mapping["executable"]["filename"]), Path(mapping["nvram-template"]["filename"])
    )
    return found if found.code.is_file() and found.variables.is_file() else None
