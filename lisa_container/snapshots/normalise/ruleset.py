"""Ordered set of rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisa_container.config.checks import check_names
from lisa_container.errors import ConfigError
from lisa_container.snapshots.normalise.rule import Rule


class RuleSet:
    """Immutable set of rules in the order in which they apply. Its methods return new sets.

    Args:
        rules: rules in order, with unique names.

    Raises:
        ConfigError: two rules have the same name, or an item is not a rule.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        """Check the rules and their names."""
        self._rules = tuple(rules)
        for rule in self._rules:
            if not isinstance(rule, Rule):
                raise ConfigError(
                    f"normalisation rules: given {rule!r}; legal: a PatternRule, a FunctionRule or "
                    "another Rule"
                )
        names = self.names
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"normalisation rules: given '{name}' twice; legal: each name once (to replace "
                    f"a rule, remove it first: without('{name}'))"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rules, in order."""
        return tuple(rule.name for rule in self._rules)

    def __iter__(self) -> Iterator[Rule]:
        """Iterate over the rules in their order."""
        return iter(self._rules)

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self._rules)

    def __repr__(self) -> str:
        """Return the names of the rules."""
        return f"RuleSet({', '.join(self.names)})"

    def plus(self, *rules: Rule) -> RuleSet:
        """Return this set with additional rules.

        The new rules come before the set's own, because they are more specific, but after the rules
        that recover the visible text (`Rule.is_first`).

        Args:
            *rules: rules to add, in order.

        Raises:
            ConfigError: the set has a rule with the same name.
        """
        first = [rule for rule in self._rules if rule.is_first]
        return RuleSet((*first, *rules, *(rule for rule in self._rules if not rule.is_first)))

    def without(self, *names: str) -> RuleSet:
        """Return this set without some rules.

        Args:
            *names: names of the rules to leave out.

        Raises:
            ConfigError: the set has no rule with such a name.
        """
        self._check(names)
        return RuleSet(rule for rule in self._rules if rule.name not in names)

    def only(self, *names: str) -> RuleSet:
        """Return a set of only some rules, in this set's order.

        Args:
            *names: names of the rules to keep.

        Raises:
            ConfigError: the set has no rule with such a name.
        """
        self._check(names)
        return RuleSet(rule for rule in self._rules if rule.name in names)

    def _check(self, names: Iterable[str]) -> None:
        check_names(names, self.names, "normalisation rules")
