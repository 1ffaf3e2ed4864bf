"""Locations of the runs' folders and of the index."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from lisa.util import constants

from lisa_container.recording.files import run_folder
from lisa_container.recording.records import CONTAINERS_FOLDER, RUN_FILE

INDEX_NAME = "lisa_container.sqlite"
"""File name of the index in LISA's log folder."""


def log_folder() -> Path | None:
    """Return the folder where LISA makes a folder for each run; None outside of a run."""
    path = run_folder()
    return None if path is None else path.parents[len(constants.RUN_LOGIC_PATH.parts) - 1]


def run_folders(log: Path) -> list[Path]:
    """Return the folders of all runs that have records of ours, oldest first.

    Args:
        log: LISA's log folder. A run's folder is `<date>/<date>-<time>` below it, or the name that
            `lisa --run_id` gives.
    """
    found = [
        *log.glob(f"*/{CONTAINERS_FOLDER}/{RUN_FILE}"),
        *log.glob(f"*/*/{CONTAINERS_FOLDER}/{RUN_FILE}"),
    ]
    return sorted((path.parents[1] for path in found), key=lambda folder: folder.name)


def has_run_file(folder: Path) -> bool:
    """Return whether a run's folder has a record of ours about the run.

    Args:
        folder: The run's folder.
    """
    return os.path.lexists(folder / CONTAINERS_FOLDER / RUN_FILE)


def remove_run(log: Path, folder: Path) -> None:
    """Remove the folder of a run with all files in it, and the day's folder if that is empty then.

    The next look at the history (`catch_up`) leaves the run out.

    Args:
        log: LISA's log folder.
        folder: The run's folder, below the log folder.

    Raises:
        OSError: A file cannot be removed, or the folder is a link.
    """
    shutil.rmtree(folder)  # which refuses a link, and follows none below
    day = folder.parent
    if day != log:
        with contextlib.suppress(OSError):
            day.rmdir()
