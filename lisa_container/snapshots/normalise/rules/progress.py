"""Progress bars, in their final state or printed line by line.

>>> normalise("[=====>      ] 45%")
'<progress>'
>>> normalise("3f4a: Downloading [====>   ]  1.2MB/3.4MB")
'3f4a: Downloading <progress>'
>>> normalise("   ━━━━━━━━━━━━ 1.3/1.3 MB 5.2 MB/s eta 0:00:00")
'   <progress> 1.3/1.3 MB <rate> eta <time>'
>>> normalise("60%|██████    | 6/10 [00:02<00:01,  2.53it/s]")
'<progress>'
>>> normalise("100  1831  100  1831    0     0   516k      0 --:--:-- --:--:-- --:--:--  596k")
'<progress>'
"""

from __future__ import annotations

import re

from lisa_container.snapshots.normalise.rule import PatternRule

_PERCENT = r"\d{1,3}(?:\.\d{1,3})?%"
_SIZE = r"\d{1,9}(?:\.\d{1,9})?[ ]?[kKMGT]?i?B"
_BAR = r"\[[#=]{1,200}[>. -]{0,200}\]"
_GLYPHS = "━╸╺█▉▊▋▌▍▎▏░▒▓"

# Columns of curl's table: sizes, speeds and times.
_COUNT = r"[ ]{1,9}[\d.]{1,9}[kMGTP]?"
_SHARE = r"[ ]{1,9}\d{1,3}"
_CLOCK = r"[ ]{1,9}(?:\d{1,3}:\d\d:\d\d|--:--:--|\d{1,4}d[ ]\d\dh)"

_FORMS = [
    rf"{_BAR}[ ]{{0,9}}(?:{_SIZE}/{_SIZE}|{_PERCENT})",
    rf"(?<![\d.]){_PERCENT}[ ]{{0,9}}{_BAR}",
    rf"(?<!\#)\#{{10,500}}[ ]{{1,200}}{_PERCENT}",  # curl -#
    r"(?<![\d.])\d{1,3}%\|[^|\n]{3,200}\|[ ]{0,9}\d{1,12}/\d{1,12}[ ]\[[^\]\n]{1,80}\]",  # tqdm
    rf"(?<![{_GLYPHS}])[{_GLYPHS}]{{5,500}}(?=[ ]{{0,500}}\d)",  # pip
    rf"^[ ]{{0,9}}\d{{1,3}}(?:{_COUNT}{_SHARE}){{2}}(?:{_COUNT}){{3}}(?:{_CLOCK}){{3}}{_COUNT}",
]

PROGRESS = PatternRule("progress", "|".join(_FORMS), flags=re.MULTILINE)
