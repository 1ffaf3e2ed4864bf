"""Evidence of a case: changes in its containers, and their state when the case ended.

Evidence can be taken of a container that has died. What cannot be taken is noted, and never hides
the failure of the case.
"""

from lisa_container.evidence.changes import Begin, begin_of, find_changes
from lisa_container.evidence.collect import collect, collect_and_warn
from lisa_container.evidence.noise import NoiseRule, default_noise_rules
from lisa_container.evidence.state import take_state

__all__ = [
    "Begin",
    "NoiseRule",
    "begin_of",
    "collect",
    "collect_and_warn",
    "default_noise_rules",
    "find_changes",
    "take_state",
]
