"""QEMU programs of this machine."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from lisa_container.errors import VmMachineError
from lisa_container.escaping import quote_output
from lisa_container.system import environment

REQUIRED_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "ssh-keygen": "openssh-client",
}
"""Debian packages that virtual machines need, by a program in each."""

_PROGRAM = "qemu-system-x86_64"
_VERSION = re.compile(r"version (\S+)(?: \((\S+)\))?")
_SECONDS = 30


@dataclass(frozen=True)
class Qemu:
    """QEMU of this machine.

    Attributes:
        path: path of the program.
        version: version with the distribution's, such as "7.2.22 Debian 1:7.2+dfsg-7". Memory that
            one version wrote is not read by another.
    """

    path: str
    version: str


@cache
def find_qemu() -> Qemu:
    """Return this machine's QEMU.

    Raises:
        VmMachineError: there is none, or it does not run.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise VmMachineError(
            f"virtual machines are x86-64 only, and this machine is {platform.machine()}"
        )
    path = find_program(_PROGRAM)
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    match = _VERSION.search(done.stdout)
    if match is None:
        raise VmMachineError(f"'{path} --version' failed: {quote_output(done.stderr)}")
    return Qemu(path, " ".join(filter(None, match.groups())))


def find_program(name: str) -> str:
    """Return the path of a program that virtual machines need.

    Args:
        name: a key of `REQUIRED_PACKAGES`.

    Raises:
        VmMachineError: it is not installed.
    """
    path = shutil.which(name, path=environment()["PATH"])
    if path is None:
        package = REQUIRED_PACKAGES[name]
        raise VmMachineError(
            f"virtual machines need '{name}', which is not installed; on Debian and Ubuntu:"
            f" `apt-get install -y --no-install-recommends {package}`"
        )
    return path
