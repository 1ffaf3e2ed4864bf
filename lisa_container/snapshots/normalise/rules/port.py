"""Ephemeral ports, from 32768 on, after an address or the word `port`.

>>> normalise("listening on 127.0.0.1:48765 and [::1]:48766; from 10.0.0.7 port 51022; 0.0.0.0:80")
'listening on 127.0.0.1:<port> and [::1]:<port>; from <ip 1> port <port>; 0.0.0.0:80'
"""

from __future__ import annotations

import re

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE
from lisa_container.snapshots.normalise.rule import PatternRule

_PORT = r"(?P<value>3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|[45]\d{4}|6[0-5]\d{3})"

_FRONT = [
    rf"{BEFORE}(?:localhost|\d{{1,3}}(?:\.\d{{1,3}}){{3}}):",
    r"\[[0-9A-Fa-f:]{2,39}\]:",
    rf"{BEFORE}port[ :=]{{1,2}}",
]

PORT = PatternRule("port", rf"(?:{'|'.join(_FRONT)}){_PORT}{AFTER}", flags=re.IGNORECASE)
