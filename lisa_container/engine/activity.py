"""Log lines about a long job: one at its start, one every ten seconds, one at its end.

    with Activity("installing tool 'x' by npm", node.log) as activity:
        container.run(…, on_stdout=activity.add_output)

On a terminal the lines in between are one live line. They quote the last words of the tool that
does the job.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable

from lisa_container.engine.progress import NOTICE, LiveText
from lisa_container.escaping import plain_lines, printable
from lisa_container.masking import KNOWN, Plain

# Seconds between two lines in a log, and between two updates of the line on a terminal.
_PERIOD = 10.0
_REDRAW = 0.5
# Most characters of the tool's own words in a line, and most bytes kept to find them.
_WORDS = 120
_KEPT = 4096


class Activity:
    """A long job, a context manager. Several may run at the same time.

    Args:
        what: first words of each line, such as "making image 'x' on node 'a'".
        log: log of the node.
        ask: returns what the tool says now; called every ten seconds in another thread. None: the
            tool's words come by `add_output`.
        period: seconds between two lines in the log.
        delay: seconds until the first line; a job that ends before has no line at all.
    """

    def __init__(
        self,
        what: str,
        log: logging.Logger,
        ask: Callable[[], str] | None = None,
        period: float = _PERIOD,
        delay: float = 0.0,
    ) -> None:
        """Measure the time from now on; `__enter__` starts the lines."""
        self._what = what
        self._log = log
        self._ask = ask
        self._period = period
        self._delay = delay
        self._live = LiveText.of_stderr()
        self._started = time.monotonic()
        self._end = threading.Event()
        self._output = b""
        self._thread = threading.Thread(target=self._report_regularly, name="activity", daemon=True)

    def __enter__(self) -> Activity:
        """Write the first line, unless there is a delay."""
        self._started = time.monotonic()
        if not self._delay:
            self._log.info(Plain(f"{self._what}…"), extra=NOTICE)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """Write the last line, with the seconds that the job took."""
        self._end.set()
        if self._live is not None:
            self._live.remove()
        result = "done" if kind is None else "failed"
        if time.monotonic() - self._started >= self._delay:
            self._log.info(Plain(f"{self._what}: {result} in {self._seconds} s"), extra=NOTICE)

    def add_output(self, output: bytes) -> None:
        """Take a piece of the tool's output."""
        self._output = (self._output + output)[-_KEPT:]

    @property
    def _seconds(self) -> int:
        return round(time.monotonic() - self._started)

    def _report_regularly(self) -> None:
        if self._delay:
            if self._end.wait(self._delay):
                return
            self._log.info(Plain(f"{self._what}…"), extra=NOTICE)
        asked, words = time.monotonic(), ""
        while not self._end.wait(_REDRAW if self._live is not None else self._period):
            if self._ask is None:
                words = _last_words(self._output.decode(errors="replace"))
            elif self._live is None or time.monotonic() - asked >= self._period:
                words = self._asked_words(self._ask)
                asked = time.monotonic()
            text = f"{self._what}, {self._seconds} s" + (f": {words}" if words else "")
            if self._end.is_set():
                return
            if self._live is not None:
                self._live.show(text)
            else:
                self._log.info(Plain(text), extra=NOTICE)

    def _asked_words(self, ask: Callable[[], str]) -> str:
        try:
            return _last_words(ask())
        except Exception as error:  # the job itself reports a lost node
            self._log.debug(f"{self._what}: its progress is unknown: {printable(error)}")
            return ""


def _last_words(output: str) -> str:
    lines = plain_lines(output)
    return printable(KNOWN.text(lines[-1]))[:_WORDS] if lines else ""
