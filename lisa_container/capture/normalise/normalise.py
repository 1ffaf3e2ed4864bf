"""`normalise`, and the rules that apply where none are named."""

from __future__ import annotations

from lisa_container.capture.normalise.placeholders import Placeholders
from lisa_container.capture.normalise.rules import ALL
from lisa_container.capture.normalise.ruleset import RuleSet
from lisa_container.errors import ConfigError

BUILT_IN = RuleSet(ALL)
"""All built-in rules."""

_default = BUILT_IN


def default_rules() -> RuleSet:
    """The rules that apply where none are named."""
    return _default


def set_default_rules(rules: RuleSet) -> RuleSet:
    """Change the rules that apply where none are named, for the whole process.

    Args:
        rules: from now on.

    Returns:
        Those that applied until now.

    Raises:
        ConfigError: it is no `RuleSet`.
    """
    global _default
    before, _default = _default, check_rules(rules)
    return before


def check_rules(rules: object) -> RuleSet:
    """The rules, if they are such.

    Raises:
        ConfigError: it is no `RuleSet`.
    """
    if not isinstance(rules, RuleSet):
        raise ConfigError(
            f"normalisation rules: given {rules!r}; legal: a RuleSet, such as "
            "BUILT_IN.without('date')"
        )
    return rules


def normalise(text: str | bytes, rules: RuleSet | None = None) -> str:
    """The text with placeholders for what differs between runs.

    >>> normalise("connected to 10.1.2.3 in 0.25 s, again to 10.1.2.3")
    'connected to <ip 1> in <duration>, again to <ip 1>'

    Doing so a second time changes nothing more, as far as the built-in rules are concerned.

    Args:
        text: output of any kind. Bytes that are not UTF-8 become U+FFFD, as in a result.
        rules: which apply; by default `default_rules()`.

    Raises:
        ConfigError: the rules are none.
    """
    chosen = _default if rules is None else check_rules(rules)
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    else:
        # A lone surrogate can be in no file.
        text = text.encode("utf-8", errors="replace").decode("utf-8")
    placeholders = Placeholders(rule.placeholder for rule in chosen)
    text = placeholders.encode(text)
    for rule in chosen:
        text = rule.apply(text, placeholders)
    return placeholders.decode(text)
