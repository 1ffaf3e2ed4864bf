"""Virtual machines for tests. All processes that run tests share one image and one template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lisa_container.microvm import ImageConfig, MicroVm, VmConfig, provide_image
from lisa_container.microvm.image.store import Image


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
