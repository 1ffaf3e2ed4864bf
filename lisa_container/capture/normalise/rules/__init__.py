"""The built-in rules, a file for each, in the order in which they apply.

First what a reader sees (`terminal`, `ansi`, `blanks`). Then the longer forms before the shorter
ones that are parts of them: a date with its time before either, a UUID before an id.
"""

from __future__ import annotations

from lisa_container.capture.normalise.rules.address import ADDRESS
from lisa_container.capture.normalise.rules.ansi import ANSI
from lisa_container.capture.normalise.rules.blanks import BLANKS
from lisa_container.capture.normalise.rules.date import DATE
from lisa_container.capture.normalise.rules.duration import DURATION
from lisa_container.capture.normalise.rules.id import ID
from lisa_container.capture.normalise.rules.interface import INTERFACE
from lisa_container.capture.normalise.rules.ip import IP
from lisa_container.capture.normalise.rules.mac import MAC
from lisa_container.capture.normalise.rules.pid import PID
from lisa_container.capture.normalise.rules.port import PORT
from lisa_container.capture.normalise.rules.progress import PROGRESS
from lisa_container.capture.normalise.rules.rate import RATE
from lisa_container.capture.normalise.rules.temp import TEMP
from lisa_container.capture.normalise.rules.terminal import TERMINAL
from lisa_container.capture.normalise.rules.time import TIME
from lisa_container.capture.normalise.rules.timestamp import TIMESTAMP
from lisa_container.capture.normalise.rules.uptime import UPTIME
from lisa_container.capture.normalise.rules.uuid import UUID

ALL = (
    TERMINAL,
    ANSI,
    BLANKS,
    PROGRESS,
    TEMP,
    UUID,
    MAC,
    TIMESTAMP,
    DATE,
    UPTIME,
    RATE,
    DURATION,
    TIME,
    PORT,
    IP,
    INTERFACE,
    ADDRESS,
    ID,
    PID,
)
