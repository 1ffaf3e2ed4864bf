"""Virtual machines for tests. All processes that run tests share one image and one template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.microvm import ImageConfig, MicroVm, VmConfig, provide_image
from lisa_container.microvm.image.store import Image
from lisa_container.microvm.session import VmSession
from tests.support.runtimes import VM, save_handler


@pytest.fixture(scope="session")
def image() -> Image:
    """Make the image of all VMs, unless it is in the cache."""
    return provide_image(ImageConfig(), print)


@pytest.fixture(scope="module")
def vm() -> Iterator[MicroVm]:
    """Return a VM for the tests of a file; each may change it if it resets it."""
    with MicroVm() as running:
        yield running


@pytest.fixture
def other_vm() -> Iterator[MicroVm]:
    """Return a VM that a test may break."""
    with MicroVm(VmConfig(name="other")) as running:
        yield running


@pytest.fixture(scope="module")
def runtime_vm() -> Iterator[VmSession]:
    """Return a VM with runc and crun for the tests of a file, which leave it as it was."""
    with VmSession(MicroVm(VM)) as running:
        yield running


@pytest.fixture(scope="session")
def handler_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the archive of an HTTP handler's image."""
    return save_handler(tmp_path_factory.mktemp("handler"))
