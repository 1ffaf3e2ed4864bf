"""Patterns of dates and times that several rules share."""

from __future__ import annotations

DAY_NAME = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
MONTH_NAME = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

YEAR = r"(?:19|20)\d\d"
MONTH = r"(?:0[1-9]|1[0-2])"
DAY = r"(?:0[1-9]|[12]\d|3[01])"

DAY_OF_MONTH = r"(?:[ 0]?[1-9]|[12]\d|3[01])"
"""Day with one or two digits, padded or not."""

CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:[.,]\d{1,9})?)?"
"""Hours and minutes, with or without seconds and a fraction."""

ZONE = r"(?:[ ]?(?:Z|UTC|GMT|CES?T|[ECMP][SD]T|[+-]\d\d:?\d\d)(?![\w:]))"
"""Time zone after a time."""
