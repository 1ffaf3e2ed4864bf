"""This machine: the environment of its programs, its memory, and its present boot.

Only the standard library is imported, because the sandbox's keeper uses this.
"""

from __future__ import annotations

import os
from pathlib import Path

# A user's PATH may lack the folders of ip, nft, mke2fs and the like.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def environment() -> dict[str, str]:
    """Return the environment for commands: locale C, and all system folders in PATH."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    path += [folder for folder in _SYSTEM_FOLDERS if folder not in path]
    return {**os.environ, "PATH": os.pathsep.join(filter(None, path)), "LC_ALL": "C"}


def memory_of_machine() -> int:
    """Return the memory of this machine in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)


def boot_id() -> str:
    """Return the id of this machine's present boot, which no other boot has; see random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
