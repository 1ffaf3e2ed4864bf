"""Where artifacts are, and how they are written."""

from __future__ import annotations

import contextlib
import json
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lisa.util import constants

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def run_folder() -> Path | None:
    """LISA's folder of the run; None where LISA is used as a library, and has none."""
    folder = constants.RUN_LOCAL_LOG_PATH
    return folder if folder != Path() else None


def now() -> str:
    """The time in ISO 8601, in UTC, with microseconds."""
    return iso(datetime.now(timezone.utc))


def iso(moment: datetime) -> str:
    """A time of UTC in that form."""
    return moment.isoformat(timespec="microseconds")


def told(error: BaseException) -> str:
    """An error for a record: `<class>: <message>`."""
    if any(each.__name__ == "FunctionTimedOut" for each in type(error).__mro__):
        return "FunctionTimedOut: the time of the case was up"  # its own has all the arguments
    return f"{type(error).__name__}: {error}"


def json_line(content: Any) -> bytes:
    """It in one line. What is no Unicode (a name in bytes, say) becomes a JSON escape."""
    return _encoder.encode(content).encode("utf-8", errors="backslashreplace") + b"\n"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, so that whoever reads finds the old one or the new one whole.

    Args:
        path: of the file; its folder is made.
        content: what JSON can hold; masked already.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(text.encode("utf-8", errors="backslashreplace"))
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
