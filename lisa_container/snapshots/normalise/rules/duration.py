"""Durations, also with "ago".

>>> normalise("added 1 package in 1s; took 1m3.2s; 250 ms; real 0m0.003s; Up 5 minutes")
'added 1 package in <duration>; took <duration>; <duration>; real <duration>; Up <duration>'
>>> normalise("created 2 weeks ago, about a minute ago, Less than a second ago")
'created <duration>, <duration>, <duration>'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import AFTER, TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

_NUMBER = r"\d{1,12}(?:[.,]\d{1,9})?"
_WORD = r"(?:(?:nano|micro|milli)?second|sec|minute|min|hour|day|week|month|year)s?"
_FORMS = [
    rf"(?:\d{{1,4}}d[ ]?)?(?:\d{{1,4}}h[ ]?)?(?:\d{{1,4}}m[ ]?)?{_NUMBER}(?:n|u|µ|μ|m)?s",
    r"\d{1,4}h[ ]?\d{1,2}m(?:in)?",
    rf"{_NUMBER}[ ](?:n|u|µ|μ|m)?s",
    rf"(?:[Aa]bout[ ]|[Ll]ess[ ]than[ ])?{_NUMBER}[ ]?{_WORD}(?:[ ]ago)?",
    rf"(?:[Aa]bout[ ]an?|[Ll]ess[ ]than[ ]an?)[ ]{_WORD}(?:[ ]ago)?",
    rf"[Aa]n?[ ]{_WORD}[ ]ago",
]

DURATION = PatternRule("duration", rf"(?<![\w.,:{TOKEN}])(?:{'|'.join(_FORMS)}){AFTER}")
