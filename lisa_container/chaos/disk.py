"""Fault `disk`: a file system that a container uses is full."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.cgroup import end_processes, start_process
from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.config.checks import absolute_path, illegal

_KIB = 1024


@dataclass(frozen=True)
class DiskFull(Fault):
    """Fill the file system of a folder in a container.

    The container's own root is on the node's disk, which is filled for all. The space is held by an
    open file without a name: it is free again when the process that holds it ends.

    Attributes:
        path: Folder in the container, such as that of a volume or a tmpfs.
        free: Bytes that stay free.
    """

    kind: ClassVar[str] = "disk"

    path: str = "/tmp"
    free: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        absolute_path("path", self.path, "an absolute path in the container")
        if self.free < 0:
            raise illegal("free", self.free, "a number of bytes, 0 or more")

    def check(self, target: Target) -> None:
        """Refuse a container that does not run, and a folder that it does not have."""
        super().check(target)
        target.run(f"cd {self._folder(target)} && command -v fallocate >/dev/null")

    def measure(self, target: Target) -> Figures:
        """Return the free bytes of the file system."""
        said = target.run(f"stat -f -c '%a %S' {self._folder(target)}")
        blocks, size = said.split()
        return (float(int(blocks) * int(size)),)

    def strike(self, target: Target, id: str) -> None:
        """Take all space but what stays free."""
        size = int(self.measure(target)[0]) - self.free
        file = shlex.quote(f"./.lisa_container.{id}")
        start_process(
            target,
            id,
            f"""\
cd {self._folder(target)} || exit 1
exec 9>{file} && rm {file} || exit 1
size={max(0, size)}
# The file system needs some blocks for itself.
until fallocate -l $size /proc/self/fd/9 || [ $size -lt {4 * _KIB} ]; do
    size=$((size - size / 50 - {4 * _KIB}))
done
# The rest, in small pieces, until the file system is full.
[ {self.free} -gt 0 ] || cat /dev/zero >&9
exec sleep 2147483""",
            in_cgroup=False,
        )

    def undo(self, target: Target, id: str) -> str:
        """Return a script that ends the process with the file."""
        return end_processes(id)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: more bytes are free than asked for."""
        (free,) = self.measure(target)
        allowed = self.free + before[0] / 20 + 64 * _KIB
        return f"{free:.0f} bytes are free in '{self.path}' of {target}" if free > allowed else ""

    def _folder(self, target: Target) -> str:
        return shlex.quote(f"/proc/{target.pid}/root{self.path}")
