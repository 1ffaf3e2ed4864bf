"""Built-in rules, one file each, in the order in which they apply.

The rules that recover the visible text come first (`terminal`, `ansi`, `blanks`). After them, a
longer form comes before the shorter forms in it: a timestamp before a date, a UUID before an id.
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.rules.address import ADDRESS
from lisa_container.snapshots.normalise.rules.ansi import ANSI
from lisa_container.snapshots.normalise.rules.blanks import BLANKS
from lisa_container.snapshots.normalise.rules.date import DATE
from lisa_container.snapshots.normalise.rules.duration import DURATION
from lisa_container.snapshots.normalise.rules.id import ID
from lisa_container.snapshots.normalise.rules.interface import INTERFACE
from lisa_container.snapshots.normalise.rules.ip import IP
from lisa_container.snapshots.normalise.rules.mac import MAC
from lisa_container.snapshots.normalise.rules.pid import PID
from lisa_container.snapshots.normalise.rules.port import PORT
from lisa_container.snapshots.normalise.rules.progress import PROGRESS
from lisa_container.snapshots.normalise.rules.rate import RATE
from lisa_container.snapshots.normalise.rules.temp import TEMP
from lisa_container.snapshots.normalise.rules.terminal import TERMINAL
from lisa_container.snapshots.normalise.rules.time import TIME
from lisa_container.snapshots.normalise.rules.timestamp import TIMESTAMP
from lisa_container.snapshots.normalise.rules.uptime import UPTIME
from lisa_container.snapshots.normalise.rules.uuid import UUID

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
