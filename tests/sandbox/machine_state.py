"""State of a machine at a moment, to compare it with another moment."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from lisa_container.platforms.sandbox import SandboxConfig
from lisa_container.platforms.sandbox.rootfs import cache_folder

# Values that change on any machine that does nothing.
_RESTLESS = ("fs/dentry-state", "fs/inode-nr", "fs/inode-state", "fs/file-nr", "kernel/random/")
_RESTLESS += ("kernel/ns_last_pid", "kernel/pty/nr", "fs/aio-nr", "fs/quota", "net/netfilter/")


def machine_state(sandbox_id: str = "none") -> dict[str, Any]:
    """Return the machine's users, processes, mounts, interfaces, firewall, settings and files.

    It includes the cgroups and the data of one sandbox, whose places other machines share.
    """
    own = re.compile(rf"lisa_container\.{sandbox_id}\.")
    data = cache_folder(SandboxConfig()) / "nodes" / sandbox_id
    # Unlike Path.glob, os.walk does not mind that other sandboxes' cgroups vanish meanwhile.
    cgroups = [folder for folder, *_ in os.walk("/sys/fs/cgroup") if own.match(Path(folder).name)]
    return {
        "users": [_text(name) for name in ("/etc/passwd", "/etc/group", "/etc/shadow")],
        "processes": _processes(),
        "mounts": _text("/proc/self/mountinfo"),
        "interfaces": _output(
            "ip -details address; ip route show table all; ip rule; ip neighbour"
        ),
        "firewall": _output("nft list ruleset; iptables-legacy-save | grep -v '^#'"),
        "settings": _settings(),
        "cgroups": sorted(cgroups),
        "files": _files() + ([str(data)] if data.exists() else []),
    }


def _text(name: str) -> str:
    file = Path(name)
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _output(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return done.stdout


def _processes() -> list[str]:
    names = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            names.append((folder / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(names)


def _settings() -> dict[str, str]:
    values = {}
    for root in ("net", "kernel", "vm", "fs"):
        for file in Path("/proc/sys", root).rglob("*"):
            name = str(file.relative_to("/proc/sys"))
            if not file.is_file() or name.startswith(_RESTLESS):
                continue
            try:
                values[name] = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
    return values


def _files() -> list[str]:
    """Return all files written since the machine was made, and the folders for them.

    A file that was written and removed again leaves no trace here, nor on the machine.
    """
    found = []
    for top in ("/run/upper", "/run", "/tmp"):
        for path in Path(top).rglob("*"):
            if top == "/run" and path.is_relative_to("/run/upper"):
                continue
            if path.name.startswith(".coverage"):
                continue  # the tests' own measurement, where the checkout is below /tmp
            found.append(str(path))
    return sorted(found)
