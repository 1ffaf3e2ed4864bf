"""Frozen VMs in the folders of runs."""

from __future__ import annotations

from pathlib import Path

from lisa_container.microvm.frozen.record import RECORD
from lisa_container.microvm.frozen.save import UNFINISHED, sweep

FOLDER = "frozen"
"""Folder in that of a case, with a folder for each frozen VM."""


def find_folders(run: Path) -> list[Path]:
    """Return the folders of a run's frozen VMs, oldest first; remove what killed writers left.

    Args:
        run: folder of the run.
    """
    for case in run.glob(f"tests/*/{FOLDER}"):
        sweep(case)
    found = (record.parent for record in run.glob(f"tests/*/{FOLDER}/*/{RECORD}"))
    return sorted(folder for folder in found if not folder.name.endswith(UNFINISHED))
