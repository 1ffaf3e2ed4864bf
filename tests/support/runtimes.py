"""Virtual machine and images for tests of container runtimes."""

from __future__ import annotations

import shutil
from pathlib import Path

from lisa_container.microvm import ImageConfig, VmConfig
from tests.support.soak import SAMPLES, dice
from testsuites.handler_image import handler_image

RUNTIMES = ("runc", "crun")
SOME_RUNTIMES = (dice("runtimes").choice(RUNTIMES),) if SAMPLES else RUNTIMES
"""Runtimes for dear tests: one of them in `make test`."""

VM = VmConfig(name="runtimes", image=ImageConfig(docker=False, packages=("crun", "runc")))
"""Config of a VM with both runtimes and without an engine, as in runbooks/runtime.yml."""


def save_handler(folder: Path) -> Path:
    """Save the archive of the suites' handler image in a folder, and return its path."""
    return handler_image(busybox().read_bytes()).save(folder / "handler.tar", name="handler:1")


def busybox() -> Path:
    """Return the path of this machine's static busybox."""
    found = shutil.which("busybox")
    assert found, "the package busybox-static is a part of TEST_PACKAGES in the Makefile"
    return Path(found)
