"""Images in the cache: made once, found by a hash of all that goes into them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lisa_container.atomic import create_once, replace_file
from lisa_container.debian.apt import package_sources
from lisa_container.debian.bootstrap import EXCLUDED, Report
from lisa_container.errors import VmImageError
from lisa_container.microvm.image import initrd
from lisa_container.microvm.image.build import (
    DISK,
    INITRD,
    KERNEL,
    KEY,
    build_image,
    build_root_image,
    guest_files,
    packages_of,
)
from lisa_container.microvm.image.config import ImageConfig, RootImageConfig
from lisa_container.microvm.image.kernel import kernel_version, require_options
from lisa_container.microvm.places import Places

# Increase this when the way to make an image changes.
_VERSION = 3
_RECORD = "image.json"
_BLOCK = 512


@dataclass(frozen=True)
class Image:
    """Image in the cache. Its files must not be changed.

    Attributes:
        folder: folder of its files; its name is the image's.
        user: user who logs in with the key and has sudo without a password.
        kernel_version: version of its kernel.
        has_docker: whether Docker Engine is installed and started.
    """

    folder: Path
    user: str
    kernel_version: str
    has_docker: bool

    @property
    def name(self) -> str:
        """Name of the image: the release, and a hash of all inputs."""
        return self.folder.name

    @property
    def disk(self) -> Path:
        """Raw disk."""
        return self.folder / DISK

    @property
    def kernel(self) -> Path:
        """Kernel."""
        return self.folder / KERNEL

    @property
    def initrd(self) -> Path | None:
        """Initial RAM disk of that kernel; None if the kernel needs none."""
        file = self.folder / INITRD
        return file if file.exists() else None

    @property
    def private_key(self) -> Path:
        """Private key of root and `user`."""
        return self.folder / KEY

    @property
    def bytes_used(self) -> int:
        """Space that its files take."""
        return sum(file.stat().st_blocks * _BLOCK for file in self.folder.iterdir())


def provide_image(config: ImageConfig | RootImageConfig, report: Report) -> Image:
    """Make an image unless it exists.

    Args:
        config: config of the image.
        report: function that gets the progress, line by line.

    Raises:
        PackageSourceError: this machine's apt configuration has no source for the packages.
        VmKernelError: the kernel of the config lacks options.
        VmImageError: the image could not be made.
        VmMachineError: this machine lacks a program.
    """
    if config.kernel:
        require_options(Path(config.kernel), has_modules=bool(config.modules))
    build: Callable[[Path], None]
    if isinstance(config, RootImageConfig):
        name = "root"
        parts = _parts_of_root(config)
        build = partial(build_root_image, config)
    else:
        sources = package_sources(config.suite, config.mirror)
        name = sources.suite
        parts = (sources.lines, sources.options, packages_of(config, sources), EXCLUDED)
        build = partial(build_image, config, sources, report=report)
    folder = Places.of(config.cache_dir).images / f"{name}-{_key(config, name, parts)}"
    with create_once(folder, report) as temporary:
        if temporary:
            report(f"making an image of {name} for virtual machines once")
            build(temporary)
            record = {
                "user": config.user,
                "kernel": kernel_version(temporary / KERNEL),
                "docker": config.docker,
            }
            replace_file(temporary / _RECORD, [json.dumps(record).encode()])
    return _read(folder)


def list_images(cache_dir: str = "") -> list[Image]:
    """Return all images in the cache.

    Args:
        cache_dir: folder for images; empty means the usual one.
    """
    return list(_images(Places.of(cache_dir)))


def remove_image(name: str, cache_dir: str = "") -> None:
    """Remove an image and its templates. VMs that run keep their open files.

    Args:
        name: name of the image.
        cache_dir: folder for images; empty means the usual one.

    Raises:
        VmImageError: there is no such image.
    """
    places = Places.of(cache_dir)
    images = {image.name: image for image in _images(places)}
    if name not in images:
        legal = ", ".join(images) or "there is none"
        raise VmImageError(f"vm image: given '{name}'; legal: {legal}")
    for template in places.templates.glob(f"{name}-*"):
        if template.is_dir():
            shutil.rmtree(template)
    shutil.rmtree(images[name].folder)


def _images(places: Places) -> Iterator[Image]:
    for record in sorted(places.images.glob(f"*/{_RECORD}")):
        if not record.parent.name.endswith(".unfinished"):
            yield _read(record.parent)


def _read(folder: Path) -> Image:
    with suppress(OSError, ValueError, KeyError):
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return Image(folder, record["user"], record["kernel"], record["docker"])
    raise VmImageError(
        f"the image in '{folder}' is damaged: it has no legal {_RECORD}. Remove the folder; the"
        " image is made again then"
    )


def _key(config: ImageConfig | RootImageConfig, name: str, more: tuple[Any, ...]) -> str:
    modules = Path(config.modules) if config.modules else None
    parts = (
        _VERSION,
        name,
        *more,
        initrd.BOOT_MODULES,
        initrd.script().decode(),
        {name: content.decode() for name, content in guest_files().items()},
        config.docker,
        config.keys,
        config.user,
        config.disk_gib,
        config.kernel and _digest(Path(config.kernel)),
        [(str(path), _digest(path)) for path in sorted(modules.rglob("*.ko*"))] if modules else [],
        [(target, _digest(Path(source))) for target, source in sorted(config.files.items())],
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _parts_of_root(config: RootImageConfig) -> tuple[Any, ...]:
    """Return what a root file system depends on; of files, what changes when they change."""
    source = Path(config.root or config.archive)
    if source.is_file():
        return (_digest(source),)
    files = []
    for path in sorted(source.rglob("*")):
        status = path.lstat()
        size = 0 if path.is_dir() else status.st_size
        what = (status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns)
        files.append((os.fsencode(path.relative_to(source)).hex(), *what))
    return (files,)


def _digest(file: Path) -> str:
    digest = hashlib.sha256(str(file.stat().st_mode).encode())
    with file.open("rb") as content:
        for piece in iter(lambda: content.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
