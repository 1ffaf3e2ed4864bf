"""Folders of this machine in a virtual machine, served by virtiofsd.

QEMU cannot save a VM with such a folder, so only VMs that boot have some.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from lisa_container.config.checks import check_names, illegal
from lisa_container.errors import VmMachineError
from lisa_container.system import environment

# Debian puts it there: up to version 7.2 of QEMU, and as a program of its own.
_FOLDERS = ("/usr/lib/qemu", "/usr/libexec", "/usr/lib")
_PROGRAM = "virtiofsd"
# The server has no option for folders that are only read; a mount of its own makes them so.
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Share:
    """Folder of this machine that a VM mounts.

    Attributes:
        source: folder on this machine.
        target: absolute path in the VM; the folder is created.
        is_read_only: whether the VM may only read it. This machine enforces that.
    """

    source: str
    target: str
    is_read_only: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        object.__setattr__(self, "source", str(Path(self.source).absolute()))
        if not Path(self.source).is_dir():
            raise illegal("vm, shares, source", self.source, "a folder on this machine")
        path = PurePosixPath(self.target)
        if not path.is_absolute() or path == path.parent or "\n" in self.target:
            raise illegal("vm, shares, target", self.target, "an absolute path other than /")


def share_of(given: Share | Mapping[str, Any]) -> Share:
    """Return a share.

    Args:
        given: the share, or a mapping of its fields.

    Raises:
        ConfigError: a field is unknown, missing or illegal.
    """
    if isinstance(given, Share):
        return given
    check_names(given, [each.name for each in fields(Share)], "vm, shares, unknown field")
    try:
        return Share(**given)
    except TypeError as error:
        raise illegal("vm, shares", dict(given), "source and target") from error


def mount_script(shares: Sequence[Share]) -> str:
    """Return a script of the guest that mounts all shares, now and when the guest reboots.

    Args:
        shares: the shares, in the order of their servers.
    """
    lines = ["set -e"]
    for number, share in enumerate(shares):
        target = shlex.quote(share.target)
        options = "ro" if share.is_read_only else "rw"
        entry = f"share{number} {_escape(share.target)} virtiofs {options},nofail 0 0"
        lines += [
            f"mkdir -p {target}",
            f"mountpoint -q {target} || mount -t virtiofs -o {options} share{number} {target}",
            f"entry={shlex.quote(entry)}",
            # An /etc that cannot be written is no error; the console tells.
            'grep -qxF "$entry" /etc/fstab || printf "%s\\n" "$entry" >>/etc/fstab || :',
        ]
    return "\n".join(lines)


def _escape(path: str) -> str:
    """Return a path as /etc/fstab has it: octal numbers for what separates its words."""
    return "".join(f"\\{ord(sign):03o}" if sign in " \t\n\\" else sign for sign in path)


@dataclass(frozen=True)
class Servers:
    """Servers of a VM's shares, which its keeper starts.

    Attributes:
        listeners: descriptors of the sockets on which they wait for QEMU.
        commands: a command line for each, quoted for sh.
    """

    listeners: list[int]
    commands: list[str]


@contextmanager
def listening(shares: Sequence[Share], folder: Path) -> Iterator[Servers]:
    """Open the sockets `share0`, `share1` and so on, and return what serves them.

    Args:
        shares: the shares.
        folder: folder of the VM, in which the sockets are.

    Raises:
        VmMachineError: this machine has no virtiofsd, or this user is not root.
    """
    with ExitStack() as stack:
        listeners, commands = [], []
        # A path by way of a descriptor is never too long for a socket.
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, fd)
        for number, share in enumerate(shares):
            with suppress(FileNotFoundError):  # a QEMU before this one had it
                os.unlink(f"share{number}", dir_fd=fd)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(f"/proc/self/fd/{fd}/share{number}")
            listener.listen(1)
            listeners.append(listener.fileno())
            commands.append(shlex.join(_command(share, listener.fileno())))
        yield Servers(listeners, commands)


def _command(share: Share, listener: int) -> list[str]:
    server = [
        *(find_server(), f"--fd={listener}"),
        # The limit of open files may need a capability that containers lack.
        "--rlimit-nofile=0",
        *("-o", f"source={share.source}"),
    ]
    if not share.is_read_only:
        return server
    return ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh", share.source, *server]


def find_server() -> str:
    """Return the path of virtiofsd.

    Raises:
        VmMachineError: this machine has none, or this user is not root.
    """
    if os.geteuid() != 0:
        raise VmMachineError(
            "shares of a VM need root on this machine, because virtiofsd does; copy the files"
            " instead (VmSession.copy), or run as root"
        )
    path = shutil.which(_PROGRAM, path=os.pathsep.join((*_FOLDERS, environment()["PATH"])))
    if path is None:
        raise VmMachineError(
            f"shares of a VM need '{_PROGRAM}', which is not installed; on Debian and Ubuntu:"
            f" `apt-get install -y --no-install-recommends {_PROGRAM}`, or qemu-system-common where"
            " there is no such package"
        )
    return path
