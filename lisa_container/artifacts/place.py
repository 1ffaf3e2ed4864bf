"""Where a run's files are, and the index over all runs."""

from __future__ import annotations

from pathlib import Path

from lisa.util import constants

INDEX_NAME = "lisa_container.sqlite"
"""The index, in the folder where LISA makes a folder for each run."""

FOLDER = "containers"
"""In a run's folder, and in that of each case: what lisa_container writes."""

RUN_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
CASE_FILE = "case.json"
CONTAINER_FILE = "container.json"
COMMANDS_FILE = "commands.jsonl"
TOOLS_FILE = "tools.json"
"""Names of the files; `docs/artifacts.md` shows the whole layout."""


def run_folder() -> Path | None:
    """The folder of the present run of LISA; None where this is no run."""
    path = constants.RUN_LOCAL_LOG_PATH
    return path if constants.RUN_ID and path != Path() else None


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
    found = [*log.glob(f"*/{FOLDER}/{RUN_FILE}"), *log.glob(f"*/*/{FOLDER}/{RUN_FILE}")]
    return sorted((path.parents[1] for path in found), key=lambda folder: folder.name)
