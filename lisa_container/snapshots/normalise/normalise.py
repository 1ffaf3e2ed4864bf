"""`normalise` and the default rules."""

from __future__ import annotations

from lisa_container.errors import ConfigError
from lisa_container.snapshots.normalise.placeholders import Placeholders
from lisa_container.snapshots.normalise.rules import ALL
from lisa_container.snapshots.normalise.ruleset import RuleSet

BUILT_IN = RuleSet(ALL)
"""All built-in rules."""

_default = BUILT_IN


def default_rules() -> RuleSet:
    """Return the rules that apply if none are given."""
    return _default


def set_default_rules(rules: RuleSet) -> RuleSet:
    """Change the rules that apply if none are given, for the whole process.

    Args:
        rules: the new default rules.

    Returns:
        The previous default rules.

    Raises:
        ConfigError: `rules` is not a `RuleSet`.
    """
    global _default
    previous, _default = _default, check_rules(rules)
    return previous


def check_rules(rules: object) -> RuleSet:
    """Return `rules` if they are a `RuleSet`.

    Raises:
        ConfigError: they are not.
    """
    if not isinstance(rules, RuleSet):
        raise ConfigError(
            f"normalisation rules: given {rules!r}; legal: a RuleSet, such as "
            "BUILT_IN.without('date')"
        )
    return rules


def normalise(text: str | bytes, rules: RuleSet | None = None) -> str:
    """Return the text with placeholders for values that differ between runs.

    >>> normalise("connected to 10.1.2.3 in 0.25 s, again to 10.1.2.3")
    'connected to <ip 1> in <duration>, again to <ip 1>'

    With the built-in rules, normalising the result again changes nothing.

    Args:
        text: output of any kind. Bytes that are not UTF-8 become U+FFFD, as in a command's result.
        rules: rules to apply; None means `default_rules()`.

    Raises:
        ConfigError: `rules` is not a `RuleSet`.
    """
    chosen = _default if rules is None else check_rules(rules)
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    else:
        # A lone surrogate cannot be written to a file.
        text = text.encode("utf-8", errors="replace").decode("utf-8")
    placeholders = Placeholders(rule.placeholder for rule in chosen)
    text = placeholders.encode(text)
    for rule in chosen:
        text = rule.apply(text, placeholders)
    return placeholders.decode(text)
