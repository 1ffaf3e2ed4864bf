"""Normalise text for comparison between runs: values that always differ become placeholders.

Each rule has a name and replaces one kind of value, such as times or addresses. A `RuleSet` selects
the rules to apply.
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.normalise import (
    BUILT_IN,
    default_rules,
    normalise,
    set_default_rules,
)
from lisa_container.snapshots.normalise.placeholders import Placeholders
from lisa_container.snapshots.normalise.rule import FunctionRule, PatternRule, Rule
from lisa_container.snapshots.normalise.ruleset import RuleSet

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
