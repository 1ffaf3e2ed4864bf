"""Text made comparable between runs: what differs by nature becomes a placeholder.

Each rule stands for one thing (times, addresses, …) and has a name; `RuleSet` says which apply.
"""

from __future__ import annotations

from lisa_container.capture.normalise.normalise import (
    BUILT_IN,
    default_rules,
    normalise,
    set_default_rules,
)
from lisa_container.capture.normalise.placeholders import Placeholders
from lisa_container.capture.normalise.rule import FunctionRule, PatternRule, Rule
from lisa_container.capture.normalise.ruleset import RuleSet

__all__ = [
    "BUILT_IN",
    "FunctionRule",
    "PatternRule",
    "Placeholders",
    "Rule",
    "RuleSet",
    "default_rules",
    "normalise",
    "set_default_rules",
]
