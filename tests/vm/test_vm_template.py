"""A template is found again while it is whole, and made anew once if it is damaged."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lisa_container.microvm import MicroVm, provide_image
from lisa_container.microvm.image.store import Image
from lisa_container.microvm.places import Places
from lisa_container.microvm.template import _fingerprints, _is_whole
from tests.support.runtimes import VM
from tests.support.vms import run_in


# A template without an engine boots in half the time.
@pytest.fixture(scope="module")
def image() -> Image:
    return provide_image(VM.image, print)


@pytest.fixture(scope="module")
def vm() -> Iterator[MicroVm]:
    with MicroVm(VM) as running:
        yield running


@pytest.fixture
def cache(image: Image, vm: MicroVm, tmp_path: Path) -> Path:
    """Return a cache folder with the usual images, and a copy of the VM's template."""
    places = Places(tmp_path)
    places.images.symlink_to(image.folder.parent)
    places.templates.mkdir()
    name = vm._start().shape(image).key
    source = Places.of("").templates / name
    (places.templates / name).mkdir()
    for file in source.iterdir():
        if file.name != "memory":
            shutil.copy2(file, places.templates / name)
    # The copy would take long, and clones only read it.
    os.link(source / "memory", places.templates / name / "memory")
    return tmp_path


@pytest.mark.parametrize("damage", ["byte", "truncated", "missing"])
def test_damage_is_found(cache: Path, damage: str) -> None:
    (folder,) = Places(cache).templates.iterdir()
    assert _is_whole(folder)
    state = folder / "state"
    content, times = state.read_bytes(), state.stat()
    if damage == "missing":
        state.unlink()
    elif damage == "truncated":
        state.write_bytes(content[:-1])
    else:
        state.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
        os.utime(state, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not _is_whole(folder)


def test_hardware_is_a_part_of_the_key(vm: MicroVm, image: Image, tmp_path: Path) -> None:
    shape = vm._start().shape(image)
    other_kernel = tmp_path / "kernel"
    other_kernel.write_bytes(b"other")
    changes = [
        {"cores": shape.cores + 1},
        {"memory_mib": shape.memory_mib + 1},
        {"options": "quiet"},
        {"kernel": other_kernel},
        {"data_disks_gib": (1,)},
        {"nic_count": 1},
    ]
    keys = {dataclasses.replace(shape, **change).key for change in changes}
    assert len({shape.key, *keys}) == 7


def test_damaged_template_is_made_anew_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state that QEMU refuses, with the right fingerprints: only the restore can tell."""
    caplog.set_level(logging.INFO)
    (folder,) = Places(cache).templates.iterdir()
    state = folder / "state"
    state.write_bytes(state.read_bytes()[:1000])
    (folder / "template.json").write_text(json.dumps(_fingerprints(folder)))
    image = dataclasses.replace(VM.image, cache_dir=str(cache))
    vms = [MicroVm(dataclasses.replace(VM, name=name, image=image)) for name in ("a", "b")]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(MicroVm.start, vms))
        assert [run_in(vm, "hostname") for vm in vms] == ["a\n", "b\n"]
    finally:
        for vm in vms:
            vm.stop()
    said = [record.getMessage() for record in caplog.records]
    assert sum("cannot be restored" in line for line in said) in (1, 2)
    assert sum("booting a VM once" in line for line in said) == 1
