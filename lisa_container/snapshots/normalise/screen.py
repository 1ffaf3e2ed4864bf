"""Final screen of a terminal after an output that moves the cursor.

The terminal has no right and no lower edge: lines are not wrapped, and nothing scrolls away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Sequences of ECMA-48: a control sequence, which may begin with one character (U+009B), a control
# string (such as an operating system command), an escape with intermediate characters (`ESC ( B`
# selects a character set), or an escape with one character. No part can start inside another, so
# matching takes linear time.
SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[^\x1b\n\r\x08]?"
)

# Anything except text and colours.
_MOVES = re.compile(r"[\r\x08]|\x1b(?!\[[0-9;:]*m)|\x9b(?![0-9;:]*m)")
_GOES_UP = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[AFHfJ]")
_PIECE = re.compile(rf"[\n\r\x08]|{SEQUENCE.pattern}|[^\n\r\x08\x1b\x9b]+")

# Furthest column that a cursor movement can reach. A program may ask for any number of columns.
_WIDTH = 500


def render(text: str) -> str:
    """Return the text that a terminal shows at the end, with its colours.

    Args:
        text: output as written to a terminal.
    """
    text = re.sub(r"(?<!\r)\r+\n", "\n", text)
    if not _MOVES.search(text):
        return text
    screen = _Screen(is_revisited=_GOES_UP.search(text) is not None)
    for piece in _PIECE.finditer(text):
        if piece["final"]:
            screen.control(piece["final"], piece["arguments"], piece[0])
        elif piece[0][0] not in "\x1b\x9b":
            screen.write(piece[0])
    return "\n".join(screen.lines())


class _Screen:
    """Lines of cells. A cell is a character with the colour sequences before it.

    Args:
        is_revisited: whether the cursor may return to an earlier line.
    """

    def __init__(self, is_revisited: bool) -> None:
        self._is_revisited = is_revisited
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self._colours = ""

    def lines(self) -> Iterator[str]:
        self._end_colours()
        for cells in self._lines:
            yield "".join(cells)

    def write(self, text: str) -> None:
        if text == "\n":
            self._next_line()
        elif text == "\r":
            self._column = 0
        elif text == "\x08":
            self._column = max(0, self._column - 1)
        else:
            self._put(text)

    def control(self, final: str, arguments: str, sequence: str) -> None:
        if final == "m":
            # Keep the sequence as it is, unless it is private or malformed.
            self._colours += sequence if re.fullmatch(r"[0-9;:]*", arguments) else ""
            return
        numbers = [int(x) if x.isdecimal() else 0 for x in arguments[:32].split(";")]
        count = max(1, numbers[0])
        if final in "AF":
            self._row = max(0, self._row - count)
        elif final in "BE":
            self._row = min(len(self._lines) - 1, self._row + count)
        elif final in "Hf":
            self._row = min(len(self._lines) - 1, count - 1)
            self._move(max(1, *numbers[1:2], 1) - 1)
        elif final == "C":
            self._move(self._column + count)
        elif final == "D":
            self._move(self._column - count)
        elif final == "G":
            self._move(count - 1)
        elif final == "K":
            self._erase_line(numbers[0])
        elif final == "J":
            self._erase_screen(numbers[0])
        if final in "EF":
            self._column = 0

    def _put(self, text: str) -> None:
        line = self._lines[self._row]
        line.extend(" " * (self._column - len(line)))
        cells = list(text)
        cells[0] = self._colours + cells[0]
        self._colours = ""
        line[self._column : self._column + len(cells)] = cells
        self._column += len(cells)

    def _next_line(self) -> None:
        self._end_colours()
        if not self._is_revisited:
            line = "".join(self._lines[self._row])
            self._lines[self._row] = [line]
        self._row += 1
        self._column = 0
        if self._row == len(self._lines):
            self._lines.append([])

    def _end_colours(self) -> None:
        """Append pending colour sequences, such as a reset at a line's end, to the last cell."""
        line = self._lines[self._row]
        if line:
            line[-1] += self._colours
            self._colours = ""

    def _move(self, column: int) -> None:
        self._column = max(0, min(column, max(len(self._lines[self._row]), _WIDTH)))

    def _erase_line(self, what: int) -> None:
        line = self._lines[self._row]
        if what == 0:
            del line[self._column :]
        elif what == 1:
            line[: self._column + 1] = [" "] * min(len(line), self._column + 1)
        else:
            line.clear()

    def _erase_screen(self, what: int) -> None:
        if what == 0:
            self._erase_line(0)
            del self._lines[self._row + 1 :]
        elif what in (2, 3):
            self._lines = [[]]
            self._row = self._column = 0
