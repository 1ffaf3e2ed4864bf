"""Making a folder that is complete in the end, or does not exist."""

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
    """Open a folder to fill within a `with` block.

    A new folder is made beside the path under a hidden name, and renamed at the end. An empty
    folder that exists is filled in place. If the block fails, the content is removed.

    Args:
        path: path of the folder, in a folder that exists.

    Yields:
        The folder's descriptor, and whether the folder is new.

    Raises:
        Fault: the path exists and is no empty folder.
        OSError: the folder cannot be made.
    """
    if not path.parent.is_dir():
        raise Fault(f"the folder of '{path}' does not exist: make it first")
    if not os.path.lexists(path):
        with _hidden_folder(path) as folder:
            yield folder, True
        return
    if not path.is_dir() or any(path.iterdir()):
        raise Fault(f"'{path}' exists and is no empty folder: name a new or an empty folder")
    folder = os.open(path, _FOLDER)
    try:
        yield folder, False
    except BaseException:
        clear_folder(folder)
        raise
    finally:
        os.close(folder)


@contextlib.contextmanager
def _hidden_folder(path: Path) -> Iterator[int]:
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
