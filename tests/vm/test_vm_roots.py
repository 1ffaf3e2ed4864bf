"""Images made of root file systems and archives of images, and kernels that are given as files."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.errors import VmImageError, VmKernelError
from lisa_container.microvm import (
    ImageConfig,
    MicroVm,
    RootImageConfig,
    VmConfig,
    list_images,
    provide_image,
    remove_image,
)
from lisa_container.microvm.image.store import Image
from tests.support import programs
from tests.support.cloud_image import Root, provide_root
from tests.support.programs import CLI
from tests.support.vms import SOME_BOOTS, run_in


@pytest.fixture(scope="module")
def root() -> Root:
    return provide_root()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[str]:
    """Return a folder for images, on a real file system and not kept."""
    yield str(tmp_path / "cache")


def archive_of(root: Path, file: Path) -> Path:
    """Write an archive like that of `docker save`, with a root file system as its only layer."""
    layer = file.with_name("layer.tar")
    subprocess.run(["tar", "-C", str(root), "-cf", str(layer), "."], check=True)
    digest = subprocess.run(["sha256sum", str(layer)], capture_output=True, check=True).stdout[:64]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.decode()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["test:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(file, "w") as archive:
        for name, content in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        archive.add(layer, "layer.tar")
    layer.unlink()
    return file


@SOME_BOOTS
@pytest.mark.parametrize("kind", ["packages", "root", "archive"])
def test_given_kernel_with_modules(kind: str, root: Root, cache: str, tmp_path: Path) -> None:
    """The command line makes an image, which the same values in Python find again."""
    given = {"kernel": str(root.kernel), "modules": str(root.modules), "cache_dir": cache}
    image: ImageConfig | RootImageConfig
    if kind == "packages":
        image = ImageConfig(docker=False, **given)
        words = ["--no-docker"]
    elif kind == "root":
        image = RootImageConfig(root=str(root.root), **given)
        words = ["--root", image.root]
    else:
        file = archive_of(root.root, tmp_path / "image.tar")
        image = RootImageConfig(archive=str(file), user="admin", **given)
        words = ["--archive", image.archive, "--user", "admin"]
    words += ["--kernel", image.kernel, "--modules", image.modules, "--cache", cache]
    built = programs.run(*CLI, "vm", "build", *words, timeout=600)
    assert built.returncode == 0, built.stderr
    assert [found.name for found in list_images(cache)] == built.stdout.split()
    assert provide_image(image, pytest.fail).name == built.stdout.strip()
    with MicroVm(VmConfig(name="own", image=image)) as vm:
        version = root.modules.name
        assert vm.kernel_version == version
        said = run_in(vm, "uname -r; hostname; id -un; sudo id -un; cat /proc/cmdline")
        user = "admin" if kind == "archive" else "tester"
        assert said.split("\n")[:4] == [version, "own", user, "root"]
        run_in(vm, "modprobe dummy && ip link add d0 type dummy", user="root")
        assert not (root.root / "etc/sudoers.d/lisa-vm").exists()
        folder = provide_image(image, print).folder
        assert sorted(path.name for path in folder.iterdir()) == [
            "disk.raw",
            "id_ed25519",
            "image.json",
            "initrd",
            "kernel",
        ]
        vm.stop()
        remove_image(folder.name, cache)


def test_what_a_root_file_system_lacks(image: Image, cache: str, tmp_path: Path) -> None:
    poor = tmp_path / "poor"
    (poor / "usr/sbin").mkdir(parents=True)
    (poor / "usr/sbin/sshd").touch()
    with pytest.raises(VmImageError) as caught:
        provide_image(RootImageConfig(root=str(poor), cache_dir=cache), print)
    assert (
        "lacks packages that a virtual machine needs: busybox-static perl-base sudo systemd-sysv"
        " iproute2 udev" in str(caught.value)
    )
    file = tmp_path / "no-archive"
    file.write_bytes(b"x" * 2000)
    with pytest.raises(VmImageError, match="no-archive"):
        provide_image(RootImageConfig(archive=str(file), cache_dir=cache), print)
    with pytest.raises(VmKernelError, match="CONFIG_VIRTIO_BLK"):
        provide_image(
            RootImageConfig(root=str(poor), kernel=str(image.folder / "kernel"), cache_dir=cache),
            print,
        )
    assert not list(Path(cache).rglob("making-*"))
    assert not list(Path(cache).rglob("*.unfinished"))


@SOME_BOOTS
def test_root_file_system_without_a_kernel(root: Root, cache: str) -> None:
    with pytest.raises(VmImageError, match=r"has no kernel \(boot/vmlinuz-\*\); give one"):
        provide_image(RootImageConfig(root=str(root.root), cache_dir=cache), print)
