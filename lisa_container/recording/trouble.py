"""Warning about records that cannot be written, once per run: a full disk fails many writes."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from lisa.util.logger import Logger

from lisa_container.escaping import printable
from lisa_container.masking import Plain
from lisa_container.recording.files import run_folder

_reported: set[tuple[Path, int]] = set()
_lock = threading.Lock()


def report_unwritten(log: Logger, what: str, folder: Path, error: OSError) -> None:
    """Log that something cannot be recorded: a warning for the first error of its kind in a run.

    Args:
        log: logger of the writer.
        what: what is not recorded, such as "commands".
        folder: folder that cannot be written.
        error: error of the operating system.
    """
    number = error.errno or 0
    reason = f"{what} cannot be recorded in '{printable(folder)}': {_describe(error)}"
    with _lock:
        key = (run_folder() or folder, number)
        is_first = key not in _reported
        _reported.add(key)
    if not is_first:
        log.debug(reason)
        return
    advice = (
        "Make room, or choose another folder with 'lisa -l'"
        if number in (errno.ENOSPC, errno.EDQUOT)
        else "Check that the folder can be written, or choose another with 'lisa -l'"
    )
    log.warning(
        Plain(
            f"{reason}. The run continues without it. Further records that cannot be written for "
            f"the same reason are not reported. {advice}."
        )
    )


def _describe(error: OSError) -> str:
    return printable(error.strerror or error)
