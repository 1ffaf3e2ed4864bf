"""Where a run's files are, and the index over all runs."""

from __future__ import annotations

from pathlib import Path

from lisa.util import constants

from lisa_container.capture.files import run_folder
from lisa_container.capture.records import CONTAINERS_FOLDER, RUN_FILE

INDEX_NAME = "lisa_container.sqlite"
"""The index, in the folder where LISA makes a folder for each run."""


def log_folder() -> Path | None:
    """Where LISA makes its folder for each run: `runtime/log`, unless `lisa --log_path` says
    otherwise; None where this is no run."""
    path = run_folder()
    return None if path is None else path.parents[len(constants.RUN_LOGIC_PATH.parts) - 1]


def run_folders(log: Path) -> list[Path]:
    """The folders of all runs that have files of ours, oldest first.

    Args:
        log: where LISA makes them: `<date>/<date>-<time>`, or a name of the user's own
            (`lisa --run_id`).
    """
    found = [
        *log.glob(f"*/{CONTAINERS_FOLDER}/{RUN_FILE}"),
        *log.glob(f"*/*/{CONTAINERS_FOLDER}/{RUN_FILE}"),
    ]
    return sorted((path.parents[1] for path in found), key=lambda folder: folder.name)
