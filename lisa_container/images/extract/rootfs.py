"""Writing below one folder, and nowhere else, whatever the names and links of an image say.

All is done relative to the descriptor of a folder, part by part, and never through a symbolic link:
there is no path that could lead elsewhere between a check and its use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Callable

from lisa_container.images.extract import tar
from lisa_container.images.extract.faults import Denied, Fault, Unsafe, shown
from lisa_container.images.extract.tar import TarEntry

Parts = tuple[bytes, ...]
"""A path in the root file system, checked: no part is empty, `.` or `..`."""

# overlayfs keeps in these what a folder hides and where it leads: an image must not say so.
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DENIED = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)
# Until all is written; the image's own mode may shut us out.
_FOLDER_MODE = 0o700
_NEXT_STEP = "run as root, or leave such things out with skip_denied=True"


class Rootfs:
    """The root file system that is being made.

    Args:
        root: descriptor of its folder.
        skip_denied: leave out what may not be made, and remember it.
    """

    def __init__(self, root: int, skip_denied: bool) -> None:
        self._root = root
        self._skip_denied = skip_denied
        self._folders: dict[Parts, TarEntry] = {}
        self._is_ours: set[Parts] = set()
        self._is_clear: set[Parts] = set()
        self._near: tuple[Parts, int] = ((), os.dup(root))
        self.skipped: list[str] = []

    def close(self) -> None:
        """Close what it holds open."""
        os.close(self._near[1])

    def begin_layer(self) -> None:
        """What comes now is of another layer than what is there."""
        self._is_ours.clear()
        self._is_clear.clear()

    def make(self, parts: Parts, entry: TarEntry, content: Iterable[bytes], link: Parts) -> None:
        """Make what an entry says, in the place of what is there. A folder that is there stays, and
        only its attributes change.

        Args:
            parts: where.
            entry: what.
            content: of a file.
            link: of a hard link, where to.

        Raises:
            Unsafe: it would be written through a symbolic link.
            Denied: this user may not.
            Fault: it cannot be.
        """
        if any(name.startswith(_OVERLAY) for name in entry.xattrs):
            raise Unsafe(f"{_name(parts)} has an attribute of overlayfs, which may lead anywhere")
        if not parts:
            if entry.kind != tar.FOLDER:
                raise Fault("its root is no folder")
            self._folders[()] = entry
            return
        with _told(parts):
            folder = self._parent(parts)
            name = parts[-1]
            if entry.kind == tar.LINK:
                self._make_link(parts, entry, folder, link)
            elif entry.kind == tar.FOLDER:
                self._make_folder(parts, entry, folder)
            else:
                self._clear(folder, parts)
                if entry.kind == tar.FILE:
                    self._write(parts, entry, folder, content)
                elif self._make_special(parts, entry, folder):
                    self._dress(parts, entry, folder, name)
        self._claim(parts)

    def hide(self, parts: Parts) -> None:
        """Remove what layers below have there; what this layer has made stays."""
        folder = self._find(parts[:-1])
        if folder is None:
            return
        try:
            with _told(parts):
                self._hide(folder, parts)
        finally:
            os.close(folder)

    def hide_below(self, parts: Parts) -> None:
        """The same with all that is in a folder."""
        if any(parts[:depth] in self._is_clear for depth in range(len(parts) + 1)):
            return  # else a million of these would each look at a million files
        folder = self._find(parts)
        if folder is None:
            return
        try:
            with _told(parts):
                for name in names_in(folder):
                    self._hide(folder, (*parts, name))
        finally:
            os.close(folder)
        self._is_clear.add(parts)

    def finish(self) -> None:
        """Give folders their attributes: while things were put in, they could not have them."""
        for parts in sorted(self._folders, reverse=True):
            folder = self._find(parts)
            if folder is None:
                continue  # a later layer has removed it
            try:
                with _told(parts):
                    self._dress_open(parts, self._folders[parts], folder)
            finally:
                os.close(folder)

    # --- the kinds ------------------------------------------------------------------------------

    def _make_folder(self, parts: Parts, entry: TarEntry, folder: int) -> None:
        try:
            is_there = stat.S_ISDIR(os.lstat(parts[-1], dir_fd=folder).st_mode)
        except FileNotFoundError:
            is_there = False
        if not is_there:
            self._clear(folder, parts)
            os.mkdir(parts[-1], _FOLDER_MODE, dir_fd=folder)
        self._folders[parts] = entry

    def _make_link(self, parts: Parts, entry: TarEntry, folder: int, link: Parts) -> None:
        if link == parts:
            return
        target = self._find(link[:-1]) if link else None
        if target is None:
            raise Fault(f"{_name(parts)} is a hard link to {_name(link)}, which is not there")
        try:
            name = link[-1]
            try:
                found = os.lstat(name, dir_fd=target)
            except FileNotFoundError:
                raise Fault(
                    f"{_name(parts)} is a hard link to {_name(link)}, which is not there"
                ) from None
            if stat.S_ISDIR(found.st_mode):
                raise Fault(f"{_name(parts)} is a hard link to a folder, {_name(link)}")
            self._clear(folder, parts)
            os.link(name, parts[-1], src_dir_fd=target, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(target)
        if not stat.S_ISLNK(found.st_mode):
            # As Docker and containerd do; their own archives repeat the attributes of the file.
            self._dress_link(parts, entry, folder, stat.S_ISREG(found.st_mode))

    def _write(self, parts: Parts, entry: TarEntry, folder: int, content: Iterable[bytes]) -> None:
        file = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=folder)
        try:
            for piece in content:
                view = memoryview(piece)
                while view:
                    view = view[os.write(file, view) :]
            self._dress_open(parts, entry, file)
        finally:
            os.close(file)

    def _make_special(self, parts: Parts, entry: TarEntry, folder: int) -> bool:
        name = parts[-1]
        if entry.kind == tar.SYMLINK:
            if not entry.link:
                raise Fault(f"{_name(parts)} is a symbolic link to nowhere")
            os.symlink(entry.link, name, dir_fd=folder)
            return True
        if entry.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            return True
        kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
        number = os.makedev(entry.major, entry.minor)
        return self._try(
            f"device {entry.major}:{entry.minor}",
            parts,
            lambda: os.mknod(name, kind | 0o600, number, dir_fd=folder),
        )

    # --- attributes -----------------------------------------------------------------------------

    def _dress(self, parts: Parts, entry: TarEntry, folder: int, name: bytes) -> None:
        """Owner, attributes, mode and time of what cannot be opened: in this order, as a change of
        owner takes setuid and capabilities away."""
        uid, gid = entry.uid, entry.gid
        self._try(
            f"owner {uid}:{gid}",
            parts,
            lambda: os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False),
        )
        # There is no setxattrat(2) yet: this is the folder itself, and the last part is no link.
        path = b"/proc/self/fd/%d/%s" % (folder, name)
        self._set_xattrs(
            parts, entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False)
        )
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=folder)  # not a link: it was made just now
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _dress_link(self, parts: Parts, entry: TarEntry, folder: int, is_file: bool) -> None:
        """The same for another name of what is there."""
        if is_file:
            try:
                file = os.open(parts[-1], _OLD_FILE, dir_fd=folder)
            except PermissionError:
                pass  # its mode is not for us, who are not root
            else:
                try:
                    self._dress_open(parts, entry, file)
                finally:
                    os.close(file)
                return
        self._dress(parts, entry, folder, parts[-1])

    def _dress_open(self, parts: Parts, entry: TarEntry, handle: int) -> None:
        """The same for a file or folder."""
        uid, gid = entry.uid, entry.gid
        self._try(f"owner {uid}:{gid}", parts, lambda: os.fchown(handle, uid, gid))
        self._set_xattrs(parts, entry, lambda key, value: os.setxattr(handle, key, value))
        os.fchmod(handle, entry.mode)
        os.utime(handle, ns=(entry.mtime, entry.mtime))

    def _set_xattrs(
        self, parts: Parts, entry: TarEntry, set_one: Callable[[bytes, bytes], None]
    ) -> None:
        for key, value in entry.xattrs.items():
            self._try(f"attribute {shown(key)}", parts, lambda k=key, v=value: set_one(k, v))  # type: ignore[misc]

    def _try(self, what: str, parts: Parts, work: Callable[[], None]) -> bool:
        """Do something that root may do, or only some file systems can."""
        try:
            work()
            return True
        except OSError as error:
            if error.errno not in _DENIED:
                raise
            told = f"{what} of {_name(parts)}"
            if not self._skip_denied:
                raise Denied(
                    f"{told} cannot be set here ({error.strerror}): {_NEXT_STEP}"
                ) from error
            self.skipped.append(told)
            return False

    # --- ways -----------------------------------------------------------------------------------

    def _parent(self, parts: Parts) -> int:
        """The folder of a path, and all folders above it, made where they are missing. It stays
        open until the next call: the next entry is often in the same."""
        above = parts[:-1]
        if self._near[0] == above:
            return self._near[1]
        folder = os.dup(self._root)
        try:
            for depth, part in enumerate(above, 1):
                folder = self._enter(folder, part, above[:depth], parts)
        except BaseException:
            os.close(folder)
            raise
        os.close(self._near[1])
        self._near = above, folder
        return folder

    def _enter(self, folder: int, part: bytes, here: Parts, parts: Parts) -> int:
        """Go one part down. The descriptor given is closed where this succeeds."""
        try:
            inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
        except FileNotFoundError:
            os.mkdir(part, _FOLDER_MODE, dir_fd=folder)
            self._folders[here] = TarEntry(b"", tar.FOLDER, mode=0o755)
            inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if stat.S_ISLNK(os.lstat(part, dir_fd=folder).st_mode):
                target = os.readlink(part, dir_fd=folder)
                raise Unsafe(
                    f"{_name(parts)} would be written through the symbolic link {_name(here)} to "
                    f"{shown(target)}"
                ) from error
            raise Fault(
                f"{_name(parts)} is to be below {_name(here)}, which is no folder"
            ) from error
        os.close(folder)
        return inner

    def _find(self, parts: Parts) -> int | None:
        """A folder, opened; None where there is none. Nothing is made, no link is followed."""
        folder = os.dup(self._root)
        for part in parts:
            try:
                inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
            except OSError as error:
                os.close(folder)
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return None
                raise
            os.close(folder)
            folder = inner
        return folder

    # --- removing -------------------------------------------------------------------------------

    def _claim(self, parts: Parts) -> None:
        """This layer has made it, and needs the folders above."""
        while parts not in self._is_ours:
            self._is_ours.add(parts)
            parts = parts[:-1]

    def _hide(self, folder: int, parts: Parts) -> None:
        if parts not in self._is_ours:
            self._clear(folder, parts)
            return
        try:
            inner = os.open(parts[-1], _OPEN_FOLDER, dir_fd=folder)
        except OSError:
            return  # this layer's own file
        try:
            for name in names_in(inner):
                self._hide(inner, (*parts, name))
        finally:
            os.close(inner)

    def _clear(self, folder: int, parts: Parts) -> None:
        """Remove what is at a path."""
        if remove_tree(folder, parts[-1]) and self._near[0][: len(parts)] == parts:
            os.close(self._near[1])  # the folder that is held open was in it
            self._near = (), os.dup(self._root)


def remove_tree(folder: int, name: bytes) -> bool:
    """Remove a file, or a folder with all that is in it.

    Args:
        folder: descriptor of the folder that it is in.
        name: of it there.

    Returns:
        Whether it was a folder.
    """
    try:
        os.unlink(name, dir_fd=folder)
        return False
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            raise
    try:
        inner = os.open(name, _OPEN_FOLDER, dir_fd=folder)
    except PermissionError:  # it has its own mode already
        os.chmod(name, _FOLDER_MODE, dir_fd=folder)
        inner = os.open(name, _OPEN_FOLDER, dir_fd=folder)
    try:
        with contextlib.suppress(PermissionError):
            os.fchmod(inner, _FOLDER_MODE)
        clear_folder(inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)
    return True


def clear_folder(folder: int) -> None:
    """Remove all that is in a folder.

    Args:
        folder: its descriptor.
    """
    for name in names_in(folder):
        remove_tree(folder, name)


def names_in(folder: int) -> list[bytes]:
    """What is in a folder.

    Args:
        folder: its descriptor.
    """
    return [os.fsencode(name) for name in os.listdir(folder)]


def _name(parts: Parts) -> str:
    return shown(b"/".join(parts) or b"/")


@contextlib.contextmanager
def _told(parts: Parts) -> Iterator[None]:
    """Name the entry in what the system says."""
    try:
        yield
    except OSError as error:
        raise Fault(f"{_name(parts)} cannot be made: {error.strerror or error}") from error
    except (OverflowError, ValueError) as error:
        raise Fault(f"{_name(parts)} cannot be made: {error}") from error
