"""Which sandboxes are on this machine, and what the dead ones left behind.

Every sandbox has a folder below `ROOT`, locked as long as its keeper lives. A folder without a lock
belongs to a keeper that was killed; whoever comes next undoes what is left of it. All names on the
machine derive from the sandbox's id, so that the id is all one needs to know for that.
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

from . import cgroups, loops, network
from .commands import KeeperError, run

# One place per machine, whatever cache folders its sandboxes use, and gone after a reboot.
ROOT = Path("/run/lisa_container")
_RECORD = "sandbox.json"
_SETTINGS = "settings.json"
# A node may have been given gigabytes of images.
_REMOVAL_SECONDS = 240


@dataclass(frozen=True)
class Record:
    """What is to be known for undoing a sandbox.

    Attributes:
        id: names everything that it makes on the machine.
        data: folder with the nodes' files, on a real file system.
    """

    id: str
    data: str


class Claim:
    """A sandbox's folder below `ROOT` and that for its data, locked by this process.

    Args:
        folder: the former.
        locks: descriptors that hold the locks.
    """

    def __init__(self, folder: Path, *locks: int) -> None:
        self.folder = folder
        self._locks = locks

    def release(self) -> None:
        """Remove the folder, and with it the sandbox's last trace."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)


@contextmanager
def machine_lock() -> Iterator[None]:
    """One keeper at a time on this machine."""
    while True:
        ROOT.mkdir(mode=0o711, exist_ok=True)
        with suppress(FileNotFoundError):
            lock = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The last one out removes the folder. A lock on a removed folder guards nothing.
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
    """Enter a new sandbox and make the folder for its data.

    Raises:
        KeeperError: there is one with this id.
    """
    with machine_lock():
        folder = ROOT / record.id
        lock = _make_locked(folder)
        (folder / _RECORD).write_text(json.dumps(asdict(record)), encoding="utf-8")
    data = Path(record.data)
    # There are programs in it that give root; they are for nobody on this machine.
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(data.parent):
        return Claim(folder, lock, _make_locked(data))


def sweep(data_root: Path) -> None:
    """Undo what killed keepers left on this machine.

    Args:
        data_root: a folder for the data of sandboxes. What is in it without a lock goes, too: the
            machine was rebooted, or it is shared with a machine that ended.

    Raises:
        KeeperError: something could not be undone; the next sweep tries again.
    """
    with machine_lock():
        dead = [(Claim(folder, lock), _record(folder)) for folder, lock in _unlocked(ROOT)]
    for claimed, record in dead:
        undo(claimed, record)
    if data_root.is_dir():
        # `ROOT` does not tell who uses these: containers may share a cache, and each has its own.
        with _locked(data_root):
            left = _unlocked(data_root)
        for folder, lock in left:
            _remove_tree(folder)
            os.close(lock)


def undo(claimed: Claim, record: Record) -> None:
    """Undo what a sandbox made on the machine; its processes must be dead. Can be repeated.

    To be called in the machine's network namespace.

    Raises:
        KeeperError: something could not be undone. The rest was; a sweep can try again.
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


def change_settings(wanted: dict[Path, str]) -> None:
    """Note settings that are about to be changed; the last sandbox to end restores them.

    Args:
        wanted: what restores each, by the file it is written to.
    """
    with machine_lock():
        file = ROOT / _SETTINGS
        noted = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        # What a former sandbox noted is the older, so the true value.
        noted = {**{str(path): value for path, value in wanted.items()}, **noted}
        file.write_text(json.dumps(noted), encoding="utf-8")


def _restore_settings() -> None:
    file = ROOT / _SETTINGS
    if file.exists():
        for path, value in json.loads(file.read_text(encoding="utf-8")).items():
            try:
                Path(path).write_text(value, encoding="ascii")
            except OSError as error:
                # The interface may be gone by now, or the controller be in use by somebody else.
                if error.errno not in (errno.ENOENT, errno.EBUSY):
                    raise
        file.unlink()


def _record(folder: Path) -> Record:
    with suppress(OSError, ValueError, TypeError):
        return Record(**json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    # Killed between making the folder and filling it: nothing else was made by then.
    return Record(id=folder.name, data=str(folder))


def _make_locked(folder: Path) -> int:
    """Make a folder and lock it; the one above it is locked, so nobody comes in between."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        raise KeeperError(f"there is a sandbox {folder.name} on this machine already") from error
    lock = _try_lock(folder)
    assert lock is not None, "nobody else knows this folder yet"
    return lock


def _unlocked(root: Path) -> list[tuple[Path, int]]:
    """The folders whose keepers have died, each with its lock, now ours."""
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    locks = [(folder, _try_lock(folder)) for folder in folders]
    return [(folder, lock) for folder, lock in locks if lock is not None]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _try_lock(folder: Path) -> int | None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_tree(folder: Path) -> None:
    if folder.exists():
        # Never across a mount: whatever is mounted there is not ours to empty.
        run("rm", "-rf", "--one-file-system", "--", str(folder), timeout=_REMOVAL_SECONDS)
