"""Making of images: of Debian packages or a root file system, without a boot."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lisa_container.archives.pack import pack_bytes
from lisa_container.debian.apt import PackageSources
from lisa_container.debian.bootstrap import (
    DOCKER_PACKAGES,
    EXCLUDED,
    NODE_PACKAGES,
    Report,
    bootstrap,
    root_of_own_namespaces,
)
from lisa_container.errors import BootstrapError, VmImageError
from lisa_container.escaping import quote_output
from lisa_container.microvm.image import unpack
from lisa_container.microvm.image.config import ImageConfig, MadeImageConfig, RootImageConfig
from lisa_container.microvm.image.initrd import make_initrd
from lisa_container.microvm.image.kernel import kernel_version
from lisa_container.microvm.keys import KeyPair
from lisa_container.microvm.machine.qemu import find_program
from lisa_container.system import environment

DISK, KERNEL, INITRD, CONFIG, KEY = "disk.raw", "kernel", "initrd", "config", "id_ed25519"
"""Names of the files in an image's folder: disk, kernel, RAM disk, kernel's config, private key."""

_GUEST = Path(__file__).with_name("guest")
_ROOT_SCRIPT = Path(__file__).with_name("root.sh")
_PACKAGES = (
    # for a node
    "systemd-sysv",
    "udev",
    "dbus",
    *NODE_PACKAGES,
    # for the initial RAM disk, and for images on the node
    "busybox-static",
    # for tests
    "ca-certificates",
    "curl",
)
# Debian's kernel for clouds, and what Ubuntu calls its own.
_KERNEL_PACKAGES = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
# The distribution's RAM disk, which takes longer to make than everything else together.
_NO_INITRD = "/etc/kernel/postinst.d/initramfs-tools"
_MODULES = "modules.tar"
_LIBRARY = "usr/lib/lisa-vm"
_UNITS = "etc/systemd/system"


def guest_files() -> dict[str, bytes]:
    """Return the files of this package that every image has, by name."""
    return {path.name: path.read_bytes() for path in sorted(_GUEST.iterdir()) if path.is_file()}


def packages_of(config: ImageConfig, sources: PackageSources) -> list[str]:
    """Return the packages of an image.

    Args:
        config: config of the image.
        sources: package sources.
    """
    docker = DOCKER_PACKAGES if config.docker else ()
    is_ubuntu = any("ubuntu" in line for line in sources.lines)
    kernel = () if config.kernel else (_KERNEL_PACKAGES["ubuntu" if is_ubuntu else "debian"],)
    return sorted({*_PACKAGES, *docker, *kernel, *config.packages})


def build_image(config: ImageConfig, sources: PackageSources, folder: Path, report: Report) -> None:
    """Make an image.

    Args:
        config: config of the image.
        sources: package sources.
        folder: folder to create; its parent is on a real file system.
        report: function that gets the progress, line by line.

    Raises:
        VmImageError: the image could not be made.
    """
    find_program("mmdebstrap")
    with _making(config, folder) as (work, tar):
        _run_mmdebstrap(config, sources, work, tar, report)


def build_root_image(config: RootImageConfig, folder: Path) -> None:
    """Make an image of a root file system.

    Args:
        config: config of the image.
        folder: folder to create; its parent is on a real file system.

    Raises:
        VmImageError: the image could not be made.
    """
    with _making(config, folder) as (work, tar):
        _run_root_script(config, work, tar)


@contextmanager
def _making(config: MadeImageConfig, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Create the folder of an image; the block makes its files.

    Yields:
        Folder for the results of finish.sh, and a tar of files to put into the image.
    """
    for program in ("mke2fs", "setpriv"):
        find_program(program)
    folder.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as name:
        work = Path(name)
        for file in (DISK, KERNEL, CONFIG, _MODULES, "busybox"):
            (work / file).touch(mode=0o600)
        pair = KeyPair.make()
        (folder / KEY).touch(mode=0o600)
        (folder / KEY).write_text(pair.private, encoding="ascii")
        tar = work / "files.tar"
        tar.write_bytes(pack_bytes(_entries(config, f"{pair.public} lisa-vm")))
        yield work, tar
        kernel = Path(config.kernel) if config.kernel else work / KERNEL
        _finish(config, kernel, work, folder)


def _run_root_script(config: RootImageConfig, work: Path, tar: Path) -> None:
    source = Path(config.root or config.archive).absolute()
    try:
        in_namespaces = root_of_own_namespaces()
    except BootstrapError as error:
        raise VmImageError(f"no image of a VM could be made of '{source}': {error}") from error
    done = subprocess.run(
        [
            *in_namespaces,
            *("sh", str(_ROOT_SCRIPT), str(work / "root"), str(tar), config.user, str(_GUEST)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={
            **environment(),
            "OUT": str(work),
            "SIZE": f"{config.disk_gib}G",
            "SOURCE": str(source),
            "UNPACK": shlex.join([sys.executable, "-m", unpack.__name__]) if config.archive else "",
        },
        check=False,
    )
    if done.returncode != 0:
        raise VmImageError(
            f"no image of a VM could be made of '{source}': {quote_output(done.stderr)}"
        )
    if not config.kernel and not (work / KERNEL).stat().st_size:
        raise VmImageError(
            f"'{source}' has no kernel (boot/vmlinuz-*); give one ('kernel'), and the folder of its"
            " modules if it has any ('modules')"
        )


def _run_mmdebstrap(
    config: ImageConfig, sources: PackageSources, work: Path, tar: Path, report: Report
) -> None:
    finish = f"OUT='{work}' SIZE={config.disk_gib}G sh '{_GUEST / 'finish.sh'}' \"$1\""
    hooks = [
        f"tar-in '{tar}' /",
        f'chroot "$1" sh /{_LIBRARY}/prepare "{config.user}"',
        finish,
    ]
    options = [
        "--format=null",
        *(f"--customize-hook={hook}" for hook in hooks),
    ]
    try:
        bootstrap(
            sources,
            packages_of(config, sources),
            options,
            Path(os.devnull),
            report,
            temporary=work,
            excluded=(*EXCLUDED, _NO_INITRD),
        )
    except BootstrapError as error:
        raise VmImageError(f"the image of a VM could not be made: {error}") from error


def _finish(config: MadeImageConfig, kernel: Path, work: Path, folder: Path) -> None:
    """Put the kernel, its RAM disk and the disk into the image's folder."""
    (folder / KERNEL).write_bytes(kernel.read_bytes())
    busybox = (work / "busybox").read_bytes()
    if config.modules:
        root = Path(config.modules)
        initrd = make_initrd(lambda path: (root / path).read_bytes(), busybox)
        (folder / INITRD).write_bytes(initrd)
    elif not config.kernel:
        (folder / CONFIG).write_bytes((work / CONFIG).read_bytes())
        with tarfile.open(work / _MODULES) as archive:
            names = f"./{kernel_version(kernel)}"
            initrd = make_initrd(lambda path: _member(archive, f"{names}/{path}"), busybox)
        (folder / INITRD).write_bytes(initrd)
    (work / DISK).rename(folder / DISK)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is a file"
    return file.read()


def _entries(config: MadeImageConfig, public_key: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield the files of an image that no package has."""
    guest = guest_files()
    keys = "".join(f"{key}\n" for key in (public_key, *config.keys))
    for name, content, mode in (
        (f"{_LIBRARY}/agent", guest["agent.sh"], 0o755),
        (f"{_LIBRARY}/network", guest["network.sh"], 0o755),
        (f"{_LIBRARY}/renew", guest["renew.pl"], 0o644),
        (f"{_LIBRARY}/prepare", guest["prepare.sh"], 0o755),
        (f"{_LIBRARY}/authorized_keys", keys.encode(), 0o600),
        (f"{_LIBRARY}/sshd_config", guest["sshd_config"], 0o644),
        (f"{_UNITS}/lisa-vm-agent.service", guest["agent.service"], 0o644),
        (f"{_UNITS}/lisa-vm-network.service", guest["network.service"], 0o644),
        (f"{_UNITS}/ssh.service.d/lisa-vm.conf", guest["ssh.conf"], 0o644),
        ("etc/default/ssh", guest["ssh.default"], 0o644),
        ("etc/systemd/journald.conf.d/lisa-vm.conf", guest["journald.conf"], 0o644),
    ):
        yield _entry(name, mode), content
    for target, source in config.files.items():
        path = Path(source)
        yield _entry(target.lstrip("/"), stat.S_IMODE(path.stat().st_mode)), path.read_bytes()
    if config.modules:
        root = Path(config.modules)
        version = kernel_version(Path(config.kernel))
        for path in sorted(root.rglob("*")):
            if path.is_file():  # also the target of a link, as `source` and `build` are not
                name = f"usr/lib/modules/{version}/{path.relative_to(root)}"
                yield _entry(name, 0o644), path.read_bytes()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = mode
    return info
