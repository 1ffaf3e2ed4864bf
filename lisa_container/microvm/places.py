"""Folders of virtual machines on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_NAME = "lisa_container"


@dataclass(frozen=True)
class Places:
    """Folders below one cache folder.

    Attributes:
        root: the cache folder.
    """

    root: Path

    @classmethod
    def of(cls, cache_dir: str) -> Places:
        """Return the folders of a cache folder.

        Args:
            cache_dir: the folder; empty means the usual one: `$XDG_CACHE_HOME/lisa_container`,
                else `/var/cache/lisa_container` for root and `~/.cache/lisa_container` for others.
        """
        if cache_dir:
            return cls(Path(cache_dir).absolute())
        home = os.environ.get("XDG_CACHE_HOME", "")
        if not home:
            home = "/var/cache" if os.geteuid() == 0 else str(Path.home() / ".cache")
        return cls(Path(home, _NAME))

    @property
    def images(self) -> Path:
        """Folder of images."""
        return self.root / "vm-images"

    @property
    def templates(self) -> Path:
        """Folder of templates, the memory and disks of VMs that have booted."""
        return self.root / "vm-templates"

    @property
    def key(self) -> Path:
        """Folder of the private key for VMs whose config names none."""
        return self.root / "vm-key" / "login"

    @property
    def running(self) -> Path:
        """Folder of running VMs."""
        return self.root / "vm-running"
