"""Sandboxes on this machine, and clean-up after killed keepers.

Every sandbox has a folder below `ROOT`, which its keeper locks for its lifetime. A folder without a
lock belongs to a killed keeper, and the next keeper cleans up after it. All names on the machine
contain the sandbox's id, so the id is enough for the clean-up.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Callable

from lisa_container.locks import locked, try_lock

from . import cgroups, loops, network
from .commands import KeeperError, run

# One folder per machine, whichever cache folders the sandboxes use. A reboot empties it.
ROOT = Path("/run/lisa_container")
_RECORD = "sandbox.json"
_SETTINGS = "settings.json"
# A node may hold gigabytes of images.
_REMOVAL_SECONDS = 240


@dataclass(frozen=True)
class Record:
    """Data for the clean-up of a sandbox.

    Attributes:
        id: id of the sandbox, part of every name on the machine.
        data: folder with the nodes' files, on a real file system.
    """

    id: str
    data: str


class Claim:
    """Folder of a sandbox below `ROOT` and its data folder, both locked by this process.

    Args:
        folder: the folder below `ROOT`.
        *locks: file descriptors that hold the locks.
    """

    def __init__(self, folder: Path, *locks: int) -> None:
        """Take over locks that are held."""
        self.folder = folder
        self._locks = locks

    def release(self) -> None:
        """Remove the folder below `ROOT`, the last trace of the sandbox."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the lock that only one keeper on this machine can have."""
    while True:
        # Not `exist_ok`, which fails if the last holder removes the folder at this moment.
        with suppress(FileExistsError):
            ROOT.mkdir(mode=0o711)
        with suppress(FileNotFoundError):
            lock = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The last holder removes the folder, and a lock on a removed folder protects nothing.
            with suppress(FileNotFoundError):
                if ROOT.stat().st_ino == os.fstat(lock).st_ino:
                    break
            os.close(lock)
    try:
        yield
    finally:
        with suppress(OSError):
            ROOT.rmdir()
        os.close(lock)


def claim(record: Record) -> Claim:
    """Register a new sandbox and create its data folder.

    Raises:
        KeeperError: a sandbox with this id exists.
    """
    with machine_lock():
        folder = ROOT / record.id
        lock = _make_locked(folder)
        (folder / _RECORD).write_text(json.dumps(asdict(record)), encoding="utf-8")
    data = Path(record.data)
    # Mode 700, because the data has setuid programs that other users must not run.
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(data.parent):
        return Claim(folder, lock, _make_locked(data))


def sweep(data_root: Path) -> None:
    """Clean up after killed keepers on this machine.

    Args:
        data_root: folder for the data of sandboxes. Unlocked folders in it are removed too; they
            remain after a reboot, or from another machine that shared the folder and ended.

    Raises:
        KeeperError: something could not be removed. The next sweep tries again.
    """
    with machine_lock():
        dead = [(Claim(folder, lock), _record(folder)) for folder, lock in _unlocked(ROOT)]
    for claimed, record in dead:
        undo(claimed, record)
    if data_root.is_dir():
        # `ROOT` may not list their owners: containers can share a cache, but each has its own ROOT.
        with locked(data_root):
            remaining = _unlocked(data_root)
        for folder, lock in remaining:
            _remove_tree(folder)
            os.close(lock)


def undo(claimed: Claim, record: Record) -> None:
    """Remove everything that a sandbox created on the machine. Its processes must be dead.

    Call this in the machine's network namespace. It can be repeated.

    Raises:
        KeeperError: something could not be removed; the rest was. A sweep can try again.
    """
    problems = []
    steps: tuple[Callable[[], None], ...] = (
        partial(network.remove_rules, record.id),
        partial(cgroups.remove_all, f"lisa_container.{record.id}."),
        partial(loops.detach, Path(record.data)),
        partial(_remove_tree, Path(record.data)),
    )
    for step in steps:
        try:
            step()
        except (KeeperError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise KeeperError("; ".join(problems))
    with machine_lock():
        claimed.release()
        if not any(folder.is_dir() for folder in ROOT.iterdir()):
            _restore_settings()


def save_settings(wanted: dict[Path, str]) -> None:
    """Save settings that are about to change. The last sandbox to end restores them.

    Args:
        wanted: the value that restores each setting, by its file.
    """
    with machine_lock():
        file = ROOT / _SETTINGS
        saved = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        # An earlier sandbox saved the original value, so its entries win.
        saved = {**{str(path): value for path, value in wanted.items()}, **saved}
        file.write_text(json.dumps(saved), encoding="utf-8")


def _restore_settings() -> None:
    file = ROOT / _SETTINGS
    if file.exists():
        for path, value in json.loads(file.read_text(encoding="utf-8")).items():
            try:
                Path(path).write_text(value, encoding="ascii")
            except OSError as error:
                # The interface may be gone, or another program may use the controller.
                if error.errno not in (errno.ENOENT, errno.EBUSY):
                    raise
        file.unlink()


def _record(folder: Path) -> Record:
    with suppress(OSError, ValueError, TypeError):
        return Record(**json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    # The keeper was killed before it wrote the record, so it created nothing else.
    return Record(id=folder.name, data=str(folder))


def _make_locked(folder: Path) -> int:
    """Create and lock a folder. The caller holds the lock of the parent folder."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        raise KeeperError(f"a sandbox {folder.name} exists on this machine already") from error
    lock = try_lock(folder)
    assert lock is not None, "no other process knows this folder yet"
    return lock


def _unlocked(root: Path) -> list[tuple[Path, int]]:
    """Lock the folders whose keepers have died; return each with its lock."""
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    locks = [(folder, try_lock(folder)) for folder in folders]
    return [(folder, lock) for folder, lock in locks if lock is not None]


def _remove_tree(folder: Path) -> None:
    if folder.exists():
        # Never across a mount, which may belong to another owner.
        run("rm", "-rf", "--one-file-system", "--", str(folder), timeout=_REMOVAL_SECONDS)
