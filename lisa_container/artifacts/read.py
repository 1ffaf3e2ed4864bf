"""Reading a run's files, which somebody may be writing, or was killed while he wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file; nothing where it is not there, or not whole.

    Args:
        path: of a JSON object.
    """
    found = _parsed(_text(path))
    return found if isinstance(found, dict) else {}


def read_list(path: Path) -> list[dict[str, Any]]:
    """The objects in a list; none where the file is not there, or not whole.

    Args:
        path: of a JSON list.
    """
    found = _parsed(_text(path))
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The objects of whole lines, and the offset behind them. A line that is none is left out.

    Args:
        path: of a file with a JSON object in each line.
        offset: in bytes, from where on.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    found = (_parsed(line.decode("utf-8", "replace")) for line in whole.splitlines())
    return [each for each in found if isinstance(each, dict)], offset + len(whole)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
