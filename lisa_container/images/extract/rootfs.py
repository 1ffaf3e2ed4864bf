"""`Rootfs`: writing entries below one folder and nowhere else, also for a hostile image.

Each access is relative to the descriptor of a folder, part by part, and the system never follows a
symbolic link. So no path can change its meaning between a check and its use.

The result is that of overlayfs, on which Docker and Podman unpack each layer into a folder of its
own: a layer's links are followed in that layer alone, by their text and never out of the root, and
a folder that a layer needs but does not list replaces what the layers below have there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Callable

from lisa_container.archives import tar
from lisa_container.archives.tar import TarEntry
from lisa_container.archives.unpack import write_parts
from lisa_container.images.extract.faults import Denied, Fault, Unsafe, quote

Parts = tuple[bytes, ...]
"""A path in the root file system, checked: no part is empty, `.` or `..`."""
Content = Iterable[tuple[int, bytes]]
"""Content of a file in pieces, each with its offset."""

# overlayfs stores redirects and whiteouts in these attributes: an image must not set them.
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DENIED = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)
# Mode of folders until the end: the image's own mode may deny access to this process.
_FOLDER_MODE = 0o700
# Most links in one path, as in path_resolution(7).
_MOST_LINKS = 40
_NEXT_STEP = "run as root, or leave it out with skip_denied=True"


class Rootfs:
    """Root file system that is being made.

    Args:
        root: descriptor of its folder.
        skip_denied: leave out what this user may not make, and list it in `skipped`.
    """

    def __init__(self, root: int, skip_denied: bool) -> None:
        """Begin in an empty root folder."""
        self._root = root
        self._skip_denied = skip_denied
        self._folders: dict[Parts, TarEntry] = {}
        self._made_here: set[Parts] = set()
        self._hidden_here: set[Parts] = set()
        self._links_here: dict[Parts, bytes] = {}
        self._near: tuple[Parts, int] = ((), os.dup(root))
        self.skipped: list[str] = []
        """Attributes and devices that were left out."""

    def close(self) -> None:
        """Close the descriptor that is kept open."""
        os.close(self._near[1])

    def begin_layer(self) -> None:
        """Start the next layer: all present content belongs to layers below."""
        self._made_here.clear()
        self._hidden_here.clear()
        self._links_here.clear()
        self._forget_near()

    def make(self, parts: Parts, entry: TarEntry, content: Content, link: Parts) -> None:
        """Make an entry, and replace what is at its path.

        A folder replaces only the attributes of an existing folder.

        Args:
            parts: path of the entry.
            entry: kind and attributes.
            content: content of a file in pieces, each with its offset; the rest is zeros.
            link: target of a hard link.

        Raises:
            Unsafe: an attribute may lead outside.
            Denied: this user may not make the entry.
            Fault: the entry cannot be made.
        """
        if any(name.startswith(_OVERLAY) for name in entry.xattrs):
            raise Unsafe(f"{_name(parts)} has an attribute of overlayfs, which may lead anywhere")
        if not parts:
            if entry.kind != tar.FOLDER:
                raise Fault("its root is no folder")
            self._folders[()] = entry
            return
        with _faults_for(parts):
            parts = self._resolved(parts)
            folder = self._parent(parts)
            name = parts[-1]
            if entry.kind == tar.LINK:
                self._make_link(parts, entry, folder, self._resolved(link) if link else link)
            elif entry.kind == tar.FOLDER:
                self._make_folder(parts, entry, folder)
            else:
                self._clear(folder, parts)
                if entry.kind == tar.FILE:
                    self._write(parts, entry, folder, content)
                elif self._make_special(parts, entry, folder):
                    self._set_attributes(parts, entry, folder, name)
        self._made_here.add(parts)

    def hide(self, parts: Parts) -> None:
        """Remove the content of layers below at a path; entries of this layer stay."""
        with _faults_for(parts):
            parts = self._resolved(parts)
            self._hide(self._parent(parts), parts)

    def hide_below(self, parts: Parts) -> None:
        """Remove the content of layers below in a folder; entries of this layer stay."""
        with _faults_for(parts):
            parts = self._resolved((*parts, b""))[:-1]
            self._parent((*parts, b""))
        if any(parts[:depth] in self._hidden_here for depth in range(len(parts) + 1)):
            return  # or else a million whiteouts would each list a million files
        folder = self._find(parts)
        if folder is None:
            return
        try:
            with _faults_for(parts):
                for name in names_in(folder):
                    self._hide(folder, (*parts, name))
        finally:
            os.close(folder)
        self._hidden_here.add(parts)

    def finish(self) -> None:
        """Set the attributes of folders, which earlier could have denied later writes."""
        for parts in sorted(self._folders, reverse=True):
            folder = self._find(parts)
            if folder is None:
                continue  # a later layer has removed it
            try:
                with _faults_for(parts):
                    self._set_on_open(parts, self._folders[parts], folder)
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
        if link in self._links_here:
            self._links_here[parts] = self._links_here[link]
        if not stat.S_ISLNK(found.st_mode):
            # As Docker and containerd do; their own archives repeat the attributes of the file.
            self._set_on_link(parts, entry, folder, stat.S_ISREG(found.st_mode))

    def _write(self, parts: Parts, entry: TarEntry, folder: int, content: Content) -> None:
        file = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=folder)
        try:
            write_parts(file, content, entry.size)
            self._set_on_open(parts, entry, file)
        finally:
            os.close(file)

    def _make_special(self, parts: Parts, entry: TarEntry, folder: int) -> bool:
        name = parts[-1]
        if entry.kind == tar.SYMLINK:
            if not entry.link:
                raise Fault(f"{_name(parts)} is a symbolic link to nowhere")
            os.symlink(entry.link, name, dir_fd=folder)
            self._links_here[parts] = entry.link
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

    def _set_attributes(self, parts: Parts, entry: TarEntry, folder: int, name: bytes) -> None:
        """Set owner, attributes, mode and time of an entry that cannot be opened.

        The order matters: a change of the owner removes setuid bits and capabilities.
        """
        uid, gid = entry.uid, entry.gid
        self._try(
            f"owner {uid}:{gid}",
            parts,
            lambda: os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False),
        )
        # setxattrat(2) is too new: this path is the folder itself, and its last part is no link.
        path = b"/proc/self/fd/%d/%s" % (folder, name)
        self._set_xattrs(
            parts, entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False)
        )
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=folder)  # no link: it was made just now
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _set_on_link(self, parts: Parts, entry: TarEntry, folder: int, is_file: bool) -> None:
        """Set the attributes of a hard link's file, through an open file if possible."""
        if is_file:
            try:
                file = os.open(parts[-1], _OLD_FILE, dir_fd=folder)
            except PermissionError:
                pass  # the mode denies access, and this process is not root
            else:
                try:
                    self._set_on_open(parts, entry, file)
                finally:
                    os.close(file)
                return
        self._set_attributes(parts, entry, folder, parts[-1])

    def _set_on_open(self, parts: Parts, entry: TarEntry, handle: int) -> None:
        """Set owner, attributes, mode and time of an open file or folder."""
        uid, gid = entry.uid, entry.gid
        self._try(f"owner {uid}:{gid}", parts, lambda: os.fchown(handle, uid, gid))
        self._set_xattrs(parts, entry, lambda key, value: os.setxattr(handle, key, value))
        os.fchmod(handle, entry.mode)
        os.utime(handle, ns=(entry.mtime, entry.mtime))

    def _set_xattrs(
        self, parts: Parts, entry: TarEntry, set_one: Callable[[bytes, bytes], None]
    ) -> None:
        for key, value in entry.xattrs.items():
            self._try(f"attribute {quote(key)}", parts, lambda k=key, v=value: set_one(k, v))  # type: ignore[misc]

    def _try(self, what: str, parts: Parts, work: Callable[[], None]) -> bool:
        """Do work that may need root or a feature of the file system; tell whether it succeeded."""
        try:
            work()
            return True
        except OSError as error:
            if error.errno not in _DENIED:
                raise
            title = f"{what} of {_name(parts)}"
            if not self._skip_denied:
                raise Denied(
                    f"{title} cannot be set here ({error.strerror}): {_NEXT_STEP}"
                ) from error
            self.skipped.append(title)
            return False

    # --- paths -----------------------------------------------------------------------------------

    def _parent(self, parts: Parts) -> int:
        """Open the folder of a path; make it and the folders above it where they are missing.

        The descriptor stays open until the next call: the next entry is often in the same folder.
        """
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
        """Open the folder one part down, and close the given descriptor on success."""
        try:
            inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            if error.errno != errno.ENOENT and here in self._made_here:
                raise Fault(
                    f"{_name(parts)} is to be below {_name(here)}, which is no folder"
                ) from error
            self._clear(folder, here)  # a file or link of a layer below
            self._made_here.discard(here)
            os.mkdir(part, _FOLDER_MODE, dir_fd=folder)
            inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
        if here not in self._made_here:  # a later entry of this layer may list it
            self._folders[here] = TarEntry(b"", tar.FOLDER, mode=0o755)
            self._made_here.add(here)
        os.close(folder)
        return inner

    def _resolved(self, parts: Parts) -> Parts:
        """Return a path without links in the folders above it; only this layer's are followed."""
        waiting, found, count = list(reversed(parts[:-1])), parts[:0], 0
        given = len(waiting)  # the parts below in the stack that no link has put there
        while waiting and (count or self._links_here):
            part = waiting.pop()
            is_of_link = len(waiting) >= given
            given = min(given, len(waiting))
            if part == b"..":
                found = found[:-1]
                continue
            found = (*found, part)
            target = self._links_here.get(found)
            if target is None:
                if is_of_link and found not in self._made_here:
                    raise Fault(
                        f"{_name(parts)} is below a symbolic link to {_name(found)}, which this "
                        "layer does not have"
                    )
                continue
            count += 1
            if count > _MOST_LINKS:
                raise Fault(f"{_name(parts)} is below too many symbolic links")
            found = () if target.startswith(b"/") else found[:-1]
            words = [word for word in target.split(b"/") if word not in (b"", b".")]
            waiting += reversed(words)
        return (*found, *reversed(waiting), *parts[-1:])

    def _forget_near(self) -> None:
        os.close(self._near[1])
        self._near = (), os.dup(self._root)

    def _find(self, parts: Parts) -> int | None:
        """Open a folder without following links; None if there is no folder."""
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

    def _hide(self, folder: int, parts: Parts) -> None:
        if parts not in self._made_here:
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
        """Remove the content of a path."""
        self._links_here.pop(parts, None)
        if remove_tree(folder, parts[-1]):
            if self._near[0][: len(parts)] == parts:
                self._forget_near()  # the folder that is kept open was in it
            for link in [each for each in self._links_here if each[: len(parts)] == parts]:
                del self._links_here[link]


def remove_tree(folder: int, name: bytes) -> bool:
    """Remove a file, or a folder with its content.

    Args:
        folder: descriptor of the parent folder.
        name: name in the parent folder.

    Returns:
        Whether a folder was removed.
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
    except PermissionError:  # its final mode is set already
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
    """Remove the content of a folder, given by its descriptor."""
    for name in names_in(folder):
        remove_tree(folder, name)


def names_in(folder: int) -> list[bytes]:
    """List the names in a folder, given by its descriptor."""
    return [os.fsencode(name) for name in os.listdir(folder)]


def _name(parts: Parts) -> str:
    return quote(b"/".join(parts) or b"/")


@contextlib.contextmanager
def _faults_for(parts: Parts) -> Iterator[None]:
    """Turn errors of the system into faults that name the entry."""
    try:
        yield
    except OSError as error:
        raise Fault(f"{_name(parts)} cannot be made: {error.strerror or error}") from error
    except (OverflowError, ValueError) as error:
        raise Fault(f"{_name(parts)} cannot be made: {error}") from error
