"""Which rules apply, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisa_container.capture.normalise.rule import Rule
from lisa_container.config.checks import nearest
from lisa_container.errors import ConfigError


class RuleSet:
    """Rules in the order in which they apply. It never changes; its methods make new ones.

    Args:
        rules: in order, each name once.

    Raises:
        ConfigError: two have one name, or one is no rule.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
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
                    f"a rule, take it out first: without('{name}'))"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The rules' names, in order."""
        return tuple(rule.name for rule in self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"RuleSet({', '.join(self.names)})"

    def plus(self, *rules: Rule) -> RuleSet:
        """This set and more. They come before this set's own, as a user's rules know better what
        they look at, but behind those that make out what a reader sees (`Rule.is_first`).

        Args:
            rules: to add, in order.

        Raises:
            ConfigError: one of this name is there.
        """
        first = [rule for rule in self._rules if rule.is_first]
        return RuleSet((*first, *rules, *(rule for rule in self._rules if not rule.is_first)))

    def without(self, *names: str) -> RuleSet:
        """This set without some.

        Args:
            names: of the rules to leave out.

        Raises:
            ConfigError: there is none of this name.
        """
        self._check(names)
        return RuleSet(rule for rule in self._rules if rule.name not in names)

    def only(self, *names: str) -> RuleSet:
        """Some of this set, in this set's order.

        Args:
            names: of the rules to keep.

        Raises:
            ConfigError: there is none of this name.
        """
        self._check(names)
        return RuleSet(rule for rule in self._rules if rule.name in names)

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                hint = nearest(name, self.names)
                raise ConfigError(
                    f"normalisation rules: given {name!r}; legal: {', '.join(self.names)}"
                    + (f" ({hint})" if hint else "")
                )
