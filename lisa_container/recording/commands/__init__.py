"""Records of commands.

Recording must not slow down a command that takes a millisecond. While a command runs, its output is
only buffered; the records of short commands are made and written many at a time.
"""

from lisa_container.recording.commands.capture import CommandCapture, CommandDescription, leave_all
from lisa_container.recording.commands.journal import Journal
from lisa_container.recording.commands.resources import SAMPLE, Meters, Sample, parse

__all__ = [
    "SAMPLE",
    "CommandCapture",
    "CommandDescription",
    "Journal",
    "Meters",
    "Sample",
    "leave_all",
    "parse",
]
