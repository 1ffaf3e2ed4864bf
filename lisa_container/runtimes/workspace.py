"""Workspace of a test on a machine: root file systems, bundles and runtimes, removed at its end."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shlex
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from lisa.node import Node

from lisa_container.archives.pack import Packing
from lisa_container.config.checks import illegal
from lisa_container.container.request import Stdin
from lisa_container.container.result import CommandResult
from lisa_container.errors import RuntimeCommandError, RuntimeMachineError
from lisa_container.forks import temporary_folder
from lisa_container.images import ExtractedImage, extract_image
from lisa_container.images.ship.source import Image, archive_of
from lisa_container.runtimes.bundle import OciBundle
from lisa_container.runtimes.machine import Machine, machine_of, run_checked
from lisa_container.runtimes.spec import BundleSettings, Mount, Network, make_spec
from lisa_container.runtimes.users import User, user_of
from lisa_container.system import boot_id

FOLDER = "/var/lib/lisa_container_runtimes"
"""Folder of all workspaces on a machine."""

_PROGRAM = Path(__file__).with_name("workspace.sh")
# Programs that are not in the search path of all logins.
_PATH = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH\n"
_NOT_FOUND = 127
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
LEGAL_NAME = "at most 32 of a-z, 0-9 and inner '-'"
"""Legal names of bundles and handlers."""


@dataclass(frozen=True)
class RootFileSystem:
    """Root file system of an image on the machine, which many bundles share.

    Attributes:
        path: folder on the machine.
        image: the image; its `rootfs` no longer exists.
        user: user that the image's config names.
    """

    path: str
    image: ExtractedImage
    user: User


class Workspace:
    """Folder on a machine for tests of container runtimes, for a `with` block.

    At its end, containers, mounts, addresses and files are removed. If the runner is killed or its
    connection is lost, a watcher on the machine does so within seconds.

    Args:
        target: Machine or LISA node.

    Attributes:
        machine: The machine.
        folder: The folder.

    >>> with Workspace(vm) as workspace:
    ...     bundle = workspace.oci_bundle(Path("image.tar"), command=["true"])
    ...     OciRuntime(workspace, "runc").run(bundle)
    """

    def __init__(self, target: Node | Machine) -> None:
        """Create nothing yet."""
        self.machine = machine_of(target)
        self._token = secrets.token_hex(4)
        self.folder = f"{FOLDER}/{self._token}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._placed: dict[tuple[object, ...], RootFileSystem] = {}

    def __enter__(self) -> Workspace:
        """Make the folder and start the watcher.

        Raises:
            RuntimeMachineError: The machine lacks a program.
            RuntimeCommandError: The folder cannot be made.
        """
        folder = shlex.quote(self.folder)
        script = f"""\
for program in flock setsid tar; do
    command -v $program >/dev/null || {{ echo "$program is missing"; exit {_NOT_FOUND}; }}
done
umask 077
mkdir -p {folder} && cat >{folder}/workspace.sh &&
    sh {folder}/workspace.sh open {folder} {os.getpid()} {boot_id()}"""
        try:
            self.run("make a workspace", script, stdin=_PROGRAM.read_bytes())
        except BaseException as error:
            with suppress(Exception):  # the first error is the one that counts
                self.close()
            if not isinstance(error, RuntimeCommandError) or error.exit_code != _NOT_FOUND:
                raise
            raise RuntimeMachineError(f"{error}: install this program there") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove all of it."""
        self.close()

    def close(self) -> None:
        """Remove containers, mounts, addresses, files and the watcher.

        Raises:
            RuntimeCommandError: Something cannot be removed.
        """
        folder = shlex.quote(self.folder)
        script = f"[ ! -e {folder} ] || sh {folder}/workspace.sh close {folder}"
        self.run("remove the workspace", script)
        self._placed.clear()

    def run(
        self, what: str, script: str, stdin: Stdin = None, timeout: float | None = 600
    ) -> CommandResult:
        """Run a script that must succeed.

        Args:
            what: Action for the error's message, as in "cannot …".
            script: Script for the machine's `sh`.
            stdin: Bytes, text or a binary file that the script reads.
            timeout: Seconds that it may take; None means no limit.

        Raises:
            RuntimeCommandError: The script failed.
        """
        return run_checked(self.machine, what, _PATH + script, stdin, timeout)

    def root_file_system(
        self, image: Image, source: Node | None = None, name: str = ""
    ) -> RootFileSystem:
        """Return the root file system of an image on the machine; place it there the first time.

        Args:
            image: Path of an archive of `docker save` or an OCI layout, result of
                `image_from_layers`, or name of an image on the engine of `source`.
            source: LISA node whose engine has the image.
            name: Name of the image in an archive that has several.

        Raises:
            ConfigError: An argument is wrong.
            ImageArchiveError: The archive is malformed, damaged, hostile or lacks the image.
            RuntimeCommandError: The files cannot be written on the machine.
        """
        key = _key(image, source, name)
        with self._lock:
            if key not in self._placed:
                self._placed[key] = self._place(image, source, name)
            return self._placed[key]

    def oci_bundle(
        self,
        image: Image,
        *,
        source: Node | None = None,
        name: str = "bundle",
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Sequence[Mount] = (),
        network: Network | str = Network.NONE,
        is_read_only: bool = False,
        edit: Callable[[dict[str, Any]], object] | None = None,
    ) -> OciBundle:
        """Make a bundle of an image on the machine: a root file system and `config.json`.

        All bundles of an image share its files; what a container writes is its own (overlayfs).

        Args:
            image: Image, as for `root_file_system`.
            source: LISA node whose engine has the image.
            name: Prefix of the name; a unique part follows.
            command: Command; None means the image's.
            environment: Environment variables, in addition to the image's.
            mounts: Files and folders of the machine to mount.
            network: Network, or the path of a network namespace, such as `/run/netns/blue`.
            is_read_only: Whether the container cannot write to its root file system.
            edit: Function that may change the config, for all that has no argument here.

        Raises:
            ConfigError: An argument is wrong.
            ImageArchiveError: The archive is malformed, damaged, hostile or lacks the image.
            RuntimeCommandError: The bundle cannot be made.
        """
        settings = BundleSettings(command, environment or {}, mounts, network, is_read_only)
        rootfs = self.root_file_system(image, source)
        bundle = self.plan_bundle(rootfs, settings, name, edit)
        self.run(f"make bundle '{bundle.name}'", bundle.make_script(), bundle.config)
        return bundle

    def plan_bundle(
        self,
        rootfs: RootFileSystem,
        settings: BundleSettings,
        name: str,
        edit: Callable[[dict[str, Any]], object] | None = None,
    ) -> OciBundle:
        """Return a bundle that is not on the machine yet; its `make_script` makes it.

        Args:
            rootfs: Root file system.
            settings: Settings beside those of the image.
            name: Prefix of the name; a unique part follows.
            edit: Function that may change the config.

        Raises:
            ConfigError: The name is illegal, or there is no command.
        """
        check_name(name)
        full_name = self.new_name(name)
        spec = make_spec(rootfs.image, rootfs.user, "rootfs", full_name, settings)
        if edit is not None:
            edit(spec)
        path = f"{self.folder}/bundles/{full_name}"
        return OciBundle(self.machine, full_name, path, rootfs.path, json.dumps(spec))

    def new_name(self, name: str) -> str:
        """Return a name that nothing else on the machine has.

        Args:
            name: Prefix of the name.
        """
        return f"{name}-{self._token}-{next(self._numbers)}"

    def count_bundles(self) -> int:
        """Return the number of bundles on the machine."""
        command = f"ls {shlex.quote(self.folder)}/bundles | wc -l"
        return int(self.run("count the bundles", command).stdout)

    def _place(self, image: Image, source: Node | None, name: str) -> RootFileSystem:
        is_root = os.geteuid() == 0
        with ExitStack() as stack:
            archive = stack.enter_context(archive_of(image, source))
            work = Path(stack.enter_context(temporary_folder("lisa-container-")))
            found = extract_image(archive, work / "rootfs", name, skip_denied=not is_root)
            user = user_of(work / "rootfs", found.user)
            path = f"{self.folder}/images/{found.id.partition(':')[2][:16]}"
            tar = stack.enter_context(tempfile.TemporaryFile())
            tar.writelines(Packing(keeps_attributes=is_root).pack(work / "rootfs", "rootfs"))
            tar.seek(0)
            # A second name, so that the root file system is complete or does not exist.
            script = f"""\
[ ! -e {path} ] || exit 0
umask 022 && mkdir {path}.partial &&
    tar -x -p --numeric-owner --xattrs '--xattrs-include=*' -f - -C {path}.partial &&
    mv {path}.partial/rootfs {path} && rmdir {path}.partial"""
            self.run("place a root file system", script, stdin=tar)
        return RootFileSystem(path, found, user)


def check_name(name: str) -> None:
    """Raise ConfigError unless a name is legal for bundles and handlers."""
    if not _NAME.fullmatch(name):
        raise illegal("name", name, LEGAL_NAME)


def _key(image: Image, source: Node | None, name: str) -> tuple[object, ...]:
    """Return what identifies an image while the workspace exists."""
    if isinstance(image, Path):
        path = image.resolve()
        index = path / "index.json" if path.is_dir() else path
        status = index.stat() if index.exists() else None
        return (path, name, (status.st_mtime_ns, status.st_size, status.st_ino) if status else None)
    return (image, id(source), name)
