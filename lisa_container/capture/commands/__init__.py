"""What each command was, and all that came of it.

This is on the way of every command, also of one that takes a millisecond. So while it runs, what
comes is only put aside; records of short commands are made and written many at a time.
"""

from lisa_container.capture.commands.capture import CommandCapture, leave_all, move_all
from lisa_container.capture.commands.journal import Journal
from lisa_container.capture.commands.resources import SAMPLE, Meters, Sample, parse

__all__ = [
    "SAMPLE",
    "CommandCapture",
    "Journal",
    "Meters",
    "Sample",
    "leave_all",
    "move_all",
    "parse",
]
