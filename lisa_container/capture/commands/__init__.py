"""What each command was, and all that came of it.

This is on the way of every command, also of one that takes a millisecond: what costs time is done
while the command runs, and each record is one line, written at once.
"""

from lisa_container.capture.commands.capture import CommandCapture
from lisa_container.capture.commands.journal import Journal

__all__ = ["CommandCapture", "Journal"]
