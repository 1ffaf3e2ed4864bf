"""Escaping of text from outside, for a terminal, a log line or a database.

Python represents bytes that are not UTF-8 as lone surrogates (`os.fsdecode`), which no UTF-8 file
and no SQLite database can store. Both forms here can be reversed: a backslash of the text is
doubled if it would otherwise look like an escape.
"""

from __future__ import annotations

import re

# A lone surrogate, or text that looks like its escape.
_STORED = re.compile(r"(\\*)([\ud800-\udfff]|ud[89a-f][0-9a-f]{2})")
_RESTORED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")
# Text that looks like an escape of `printable`.
_LOOKS_ESCAPED = re.compile(r"(\\+)(?=[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# `os.fsdecode` turns the byte 0x80 into U+DC80, and so on.
_FIRST_BYTE, _LAST_BYTE, _BYTES = 0xDC80, 0xDCFF, 0xDC00
_LAST_ASCII, _LAST_SHORT = 0x7F, 0xFFFF

# Escape sequences of terminals (ECMA-48: CSI; xterm: OSC; ISO 2022: character sets), and controls.
_TERMINAL_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x07\x0e-\x1f\x7f]"
)
# Characters that XML 1.0 does not allow, and control characters that it discourages.
_UNREPORTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A bar of a progress display, perhaps with words, numbers and units around it.
_BAR = re.compile(r"[\[|(]?[=#━█▒░.>*-]{6,}[^\w]*|\[[=#>. -]{6,}\]")
# Numbers of a progress display: a percentage, bytes or a rate, a part of a whole, a time left.
_MEASURE = re.compile(r"\d\s?%|\d\s?[kKMGT]i?B\b|\d/\d|\beta\b", re.IGNORECASE)
_PERCENT = re.compile(r"\d+(?:\.\d+)?\s?%")
# Lines of a tool's output that name a cause.
_FULL_DISK = re.compile(
    r"no space left|ENOSPC|(?:not|don't have) enough (?:free )?space|disk (?:is )?full"
    r"|disk quota exceeded|wrote only \d+ of \d+ bytes",
    re.IGNORECASE,
)
_NO_CAUSE = re.compile(r"exiting now|not recoverable|exit(?:ed)? (?:with )?(?:status|code)", re.I)
_CAUSE = re.compile(
    r"^E:|\b(?:error|fatal|failed|failure|cannot|can't|could not|couldn't|unable|invalid|refused"
    r"|denied|not found|don't match|unauthorized|unknown)\b",
    re.IGNORECASE,
)


def printable(text: object, keep: str = "") -> str:
    r"""Escape characters in a text that a terminal would obey or not show.

    These are control characters, escape sequences, characters that change the direction of writing
    or have no width, line separators, and bytes that are not UTF-8.

    Args:
        text: Any object; its `str()` is escaped.
        keep: Characters to keep, such as a newline in a message of several lines.

    Returns:
        The text, `\x1b` for an escape character, `\u202e` for an override of the direction, `\xe9`
        for a byte that is not UTF-8.

    >>> printable("\x1b[31mred"), printable("caf\udce9"), printable("C:\\temp\\x1b")
    ('\\x1b[31mred', 'caf\\xe9', 'C:\\\\temp\\\\x1b')
    """
    text = str(text)
    if "\\" in text:
        text = _LOOKS_ESCAPED.sub(r"\1\1", text)
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() or x in keep else _escape(x) for x in text)


def reportable(text: str) -> str:
    r"""Escape characters that an XML file cannot hold: controls, and bytes that are not UTF-8.

    Unlike `printable`, this keeps all other text as it is, also what looks like an escape.

    >>> reportable("caf\udce9 \x1b[31m C:\\x1b")
    'caf\\xe9 \\x1b[31m C:\\x1b'
    """
    return _UNREPORTABLE.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - _BYTES:02x}"
    if code <= _LAST_ASCII:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LAST_SHORT else f"\\U{code:08x}"


def storable(text: str) -> str:
    r"""Escape lone surrogates, so that a text can be encoded in UTF-8.

    Args:
        text: Any text.

    Returns:
        The text, with the six characters `\udce9` for a surrogate. `restored` reverses it.
    """
    if text.isascii() and "\\" not in text:
        return text
    return _STORED.sub(_store, text)


def restored(text: str) -> str:
    """Return the original of a text from `storable`."""
    return _RESTORED.sub(_restore, text) if "\\ud" in text else text


def _store(match: re.Match[str]) -> str:
    backslashes, rest = match[1], match[2]
    if len(rest) > 1:
        return f"{backslashes * 2}{rest}"
    return f"{backslashes * 2}\\u{ord(rest):04x}"


def _restore(match: re.Match[str]) -> str:
    half, is_escape = divmod(len(match[1]), 2)
    rest = chr(int(match[2][1:], 16)) if is_escape else match[2]
    return "\\" * half + rest


def plain_lines(output: str) -> list[str]:
    r"""Return the lines of a tool's output without terminal codes and progress displays.

    Of text that a carriage return overwrites, only the last version counts. Empty lines are left
    out.

    Args:
        output: Output of a tool, perhaps one that was written to a terminal.

    >>> plain_lines("\x1b[1m[====      ] 40%\r[==========] 100%\r\nE: no space\r\n")
    ['E: no space']
    """
    lines = []
    for line in _TERMINAL_CODES.sub("", output).split("\n"):
        # The last version that says something: a tool clears its display before it goes on.
        versions = [text for text in (each.strip() for each in line.split("\r")) if text]
        versions = [text for text in versions if not _is_progress(text)]
        if versions:
            lines.append(versions[-1])
    return lines


def quote_output(output: str, most: int = 2000) -> str:
    """Return the end of a tool's output for an error message, the line with the cause first.

    Args:
        output: Output of a tool that failed.
        most: Most characters of the result.
    """
    lines = plain_lines(output)
    if not lines:
        return "it printed nothing"
    cause = find_cause(lines)
    rest = [line for line in lines if line != cause]
    text = "\n".join(rest)[-most:] if rest else ""
    return f"{cause[:most]}\n{text}".strip()


def find_cause(lines: list[str]) -> str:
    """Return the line that names the cause of a failure: of a full disk, else the last error."""
    for pattern in (_FULL_DISK, _CAUSE):
        found = [line for line in lines if pattern.search(line)]
        found = [line for line in found if not _NO_CAUSE.search(line)] or found
        if found:
            return found[-1]
    return lines[-1] if lines else ""


def says_disk_is_full(output: str) -> bool:
    """Return whether a tool's output says that no space is left on a disk."""
    return _FULL_DISK.search(output) is not None


def _is_progress(text: str) -> bool:
    """Return whether a text is a progress display: a bar, or a percentage without a sentence."""
    bar = _BAR.search(text)
    if bar is None:
        return _PERCENT.fullmatch(text) is not None
    if find_cause([text, ""]):
        return False
    rest = text[: bar.start()] + text[bar.end() :]
    return _MEASURE.search(rest) is not None or not any(each.isalnum() for each in rest)
