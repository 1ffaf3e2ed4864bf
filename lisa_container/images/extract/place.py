"""Where a root file system is made: whole at the end, or not there at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.rootfs import clear_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[tuple[int, bool]]:
    """A folder to fill within a `with` block.

    What is not there yet is made beside, under a hidden name, and gets its name at the end. A
    folder that is there, and empty, is filled where it is. When the block fails, all is removed.

    Args:
        path: of the folder; the one above it exists.

    Yields:
        Its descriptor, and whether it is new.

    Raises:
        Fault: something is there already.
        OSError: it cannot be made.
    """
    if not path.parent.is_dir():
        raise Fault(f"the folder of '{path}', where it is to go, does not exist: make it first")
    if not os.path.lexists(path):
        with _beside(path) as folder:
            yield folder, True
        return
    if not path.is_dir() or any(path.iterdir()):
        raise Fault(f"'{path}' is there already: name a new or an empty folder")
    folder = os.open(path, _FOLDER)
    try:
        yield folder, False
    except BaseException:
        clear_folder(folder)
        raise
    finally:
        os.close(folder)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[int]:
    partial = tempfile.mkdtemp(prefix=f".{path.name[:100]}.partial.", dir=path.parent)
    try:
        folder = os.open(partial, _FOLDER)
        try:
            yield folder
            os.rename(partial, path)  # noqa: PTH104
        except BaseException:
            os.fchmod(folder, 0o700)
            clear_folder(folder)
            raise
        finally:
            os.close(folder)
    except BaseException:
        os.rmdir(partial)  # noqa: PTH106
        raise
