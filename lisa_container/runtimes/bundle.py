"""Bundle of the OCI runtime specification on a machine."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lisa_container.runtimes.machine import Machine, run_checked
from lisa_container.runtimes.spec import CONFIG


@dataclass(frozen=True)
class OciBundle:
    """Bundle on a machine: a folder with `config.json` and the root file system `rootfs`.

    It ends with its workspace, or earlier with `remove` or a `with` block.

    Attributes:
        machine: the machine.
        name: name of the bundle, which is also the default name of its container.
        path: folder of the bundle.
        lower: root file system of the image, which bundles share. `rootfs` is an overlay on it, or
            a copy where the machine cannot make one.
        config: text of `config.json`.
    """

    machine: Machine
    name: str
    path: str
    lower: str
    config: str

    def __enter__(self) -> OciBundle:
        """Return the bundle."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bundle."""
        self.remove()

    @property
    def rootfs(self) -> str:
        """Root file system on the machine."""
        return f"{self.path}/rootfs"

    @property
    def output(self) -> str:
        """File on the machine with the output of the bundle's detached container."""
        return f"{self.path}/output"

    @property
    def spec(self) -> dict[str, Any]:
        """Copy of the config."""
        spec: dict[str, Any] = json.loads(self.config)
        return spec

    def remove(self) -> None:
        """Remove the bundle from the machine. Its container must have been deleted.

        Raises:
            RuntimeCommandError: A container still uses the bundle.
        """
        run_checked(self.machine, f"remove bundle '{self.name}'", self.remove_script())

    def make_script(self) -> str:
        """Return the script that makes the bundle; its stdin is `config`."""
        path, lower = shlex.quote(self.path), shlex.quote(self.lower)
        layers = f"lowerdir={lower},upperdir={path}/upper,workdir={path}/work"
        # overlayfs refuses a folder that is on an overlay itself, as in a sandbox node.
        return f"""\
mkdir -p {path}/rootfs {path}/upper {path}/work && chmod 755 {path}/upper &&
    cat >{path}/{CONFIG} || exit
mount -t overlay -o {layers} overlay {path}/rootfs 2>/dev/null ||
    cp -a {lower}/. {path}/rootfs/"""

    def remove_script(self) -> str:
        """Return the script that removes the bundle."""
        path = shlex.quote(self.path)
        return f"""\
[ ! -e {path} ] || {{
    if mountpoint -q {path}/rootfs; then umount {path}/rootfs; fi &&
        rm -rf --one-file-system {path}
}}"""
