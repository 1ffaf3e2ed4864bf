"""Console of a VM: how far a boot has come, and why it stopped."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from lisa_container.escaping import plain_lines, printable

_TAIL_LINES = 20
_PANIC = re.compile(r"Kernel panic - not syncing: ([^\n]*)\n")
# The last line; traces stand before it.
_PANIC_END = "end Kernel panic"


class Milestone(str, Enum):
    """Milestone of a boot, in this order.

    FIRMWARE: QEMU runs.
    KERNEL: the kernel prints its version.
    INIT: the first process starts.
    NETWORK: the network interface has its address.
    SSHD: sshd answers.
    ENGINE: the container engine answers.
    """

    FIRMWARE = "firmware"
    KERNEL = "kernel"
    INIT = "init"
    NETWORK = "network"
    SSHD = "sshd"
    ENGINE = "engine"


# Words on the console that show that a milestone was reached.
_WORDS = {
    Milestone.KERNEL: re.compile(r"Linux version \S+"),
    Milestone.INIT: re.compile(r"Run \S+ as init process|lisa-vm: initrd|systemd\[1\]: "),
    Milestone.NETWORK: re.compile(r"lisa-vm: network|Reached target .*[Nn]etwork"),
}


# Characters of an unfinished line that are looked at again when more of it has come.
_LONGEST_LINE = 1 << 16


class Console:
    """Console of one boot. Each part of the output is searched once, for a guest may print much.

    Args:
        file: file that QEMU appends the output to. What it has already is of earlier boots.
    """

    def __init__(self, file: Path) -> None:
        """Begin with this boot."""
        self._file = file
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Forget what was before: the guest boots now."""
        self._begin = self._seen = self._file.stat().st_size if self._file.exists() else 0
        self._line = self._panic = ""
        self._shows_end_of_panic = False
        self._started = time.monotonic()
        self._reached: dict[Milestone, float] = {}
        self.reach(Milestone.FIRMWARE)

    @property
    def milestones(self) -> Mapping[Milestone, float]:
        """Milestones that were reached, with the seconds from the start to each."""
        return dict(self._reached)

    @property
    def text(self) -> str:
        """Output of this boot."""
        return self._read(self._begin).decode("utf-8", "replace")

    @property
    def tail(self) -> str:
        """Last lines of the output, for an error."""
        return "\n".join(map(printable, plain_lines(self.text)[-_TAIL_LINES:]))

    @property
    def progress(self) -> str:
        """Last milestone, and the seconds to each, for an error."""
        names = [f"{name.value} {seconds:.1f} s" for name, seconds in self._reached.items()]
        last = list(self._reached)[-1]
        missing = [each.value for each in Milestone if each not in self._reached]
        after = f", next would be {missing[0]}" if missing else ""
        return f"Last milestone: {last.value}{after} (from the start: {', '.join(names)})"

    def reach(self, milestone: Milestone) -> None:
        """Note that a milestone was reached now."""
        self._reached.setdefault(milestone, time.monotonic() - self._started)

    def look(self) -> None:
        """Note the milestones that the output shows, and a kernel panic."""
        with self._lock:
            data = self._read(self._seen)
            self._seen += len(data)
            text = self._line + data.decode("utf-8", "replace")
            self._line = text.rpartition("\n")[2][-_LONGEST_LINE:]
            for milestone, words in _WORDS.items():
                if milestone not in self._reached and words.search(text):
                    self.reach(milestone)
            panic = _PANIC.search(text)
            if panic and not self._panic:
                self._panic = printable(panic[1].strip())
            self._shows_end_of_panic |= _PANIC_END in text

    def find_panic(self) -> str:
        """Return the reason of a kernel panic, or an empty string."""
        self.look()
        return self._panic

    def shows_end_of_panic(self) -> bool:
        """Return whether all of a kernel panic's messages have come."""
        self.look()
        return self._shows_end_of_panic

    def _read(self, begin: int) -> bytes:
        with suppress(FileNotFoundError), self._file.open("rb") as file:
            file.seek(begin)
            return file.read()
        return b""
