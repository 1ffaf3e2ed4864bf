"""What a case did to its container, and how the container was at the case's end.

All of it works on a container that has died, too, and whatever cannot be had is noted: it never
stands in front of what the case failed for.
"""

from lisa_container.capture.evidence.changes import Begin, begin_of, find_changes
from lisa_container.capture.evidence.collect import collect
from lisa_container.capture.evidence.noise import NoiseRule, default_noise_rules
from lisa_container.capture.evidence.state import take_state

__all__ = [
    "Begin",
    "NoiseRule",
    "begin_of",
    "collect",
    "default_noise_rules",
    "find_changes",
    "take_state",
]
