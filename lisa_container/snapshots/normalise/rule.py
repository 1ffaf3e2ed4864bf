"""Base class of rules, and the two kinds that users write themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern
from typing import Any, Callable

from lisa_container.errors import ConfigError
from lisa_container.snapshots.normalise.placeholders import Placeholders

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def check_name(name: Any) -> str:
    """Return `name` if it is legal for a rule or placeholder.

    Raises:
        ConfigError: the name is illegal.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"normalisation rule, name: given {name!r}; legal: up to 40 lower-case letters, digits "
            "and '-', a letter first"
        )
    return name


class Rule:
    """Base of all rules. A rule replaces one kind of value that differs between runs.

    Args:
        name: name of the rule, for `RuleSet.without` and `RuleSet.only`.
        placeholder: text of the placeholder without `<` and `>`; empty means the name.
    """

    is_first = False
    """Whether the rule recovers the visible text and so must run before rules that search it."""

    def __init__(self, name: str, placeholder: str = "") -> None:
        """Check the names."""
        self.name = check_name(name)
        self.placeholder = check_name(placeholder or name)

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """Return the text after applying this rule.

        Args:
            text: text with tokens in place of placeholders.
            placeholders: source of new tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply()")

    def __repr__(self) -> str:
        """Return the kind and the name of the rule."""
        return f"{type(self).__name__}({self.name!r})"


class PatternRule(Rule):
    r"""Rule that replaces the matches of a regular expression by a placeholder.

        PatternRule("build", r"build-(?P<value>\d+)")     # build-42 -> build-<build>
        PatternRule("session", r"sess_\w+", numbered=True)  # sess_x sess_y sess_x
                                        # -> <session 1> <session 2> <session 1>

    Args:
        name: name of the rule.
        pattern: regular expression. If it has a group `value`, only that group is replaced. It must
            not match the empty string.
        placeholder: text of the placeholder; empty means the name.
        numbered: whether placeholders are numbered; equal values get the same number.
        keep: values that are not replaced.
        flags: flags of `re.compile`.

    Raises:
        ConfigError: the name or the pattern is illegal.
    """

    def __init__(
        self,
        name: str,
        pattern: str | Pattern[str],
        placeholder: str = "",
        numbered: bool = False,
        keep: Iterable[str] = (),
        flags: int = 0,
    ) -> None:
        """Compile and check the pattern."""
        super().__init__(name, placeholder)
        try:
            self._pattern = re.compile(pattern, flags)
            matches_nothing = self._pattern.search("")
        except (re.error, TypeError, ValueError) as error:
            raise ConfigError(
                f"normalisation rule '{name}', pattern: given {pattern!r}; legal: a regular "
                f"expression for text ({error})"
            ) from error
        if matches_nothing:
            raise ConfigError(
                f"normalisation rule '{name}', pattern: given {self._pattern.pattern!r}; legal: "
                "one that does not match the empty string"
            )
        self._group: str | int = "value" if "value" in self._pattern.groupindex else 0
        self._numbered = numbered
        self._keep = frozenset(keep)

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """Return the text with placeholders for all matches."""
        return self._pattern.sub(lambda match: self._replace(match, placeholders), text)

    def identity(self, value: str) -> str | None:
        """Return a canonical form of a matched value, or None to leave the value unchanged.

        Values with the same canonical form get the same number.
        """
        return None if value in self._keep else value

    def _replace(self, match: re.Match[str], placeholders: Placeholders) -> str:
        value = match[self._group]
        identity = None if value is None else self.identity(value)
        if identity is None:
            return match[0]
        if self._numbered:
            token = placeholders.numbered(self.placeholder, identity)
        else:
            token = placeholders.plain(self.placeholder)
        start, end = match.span(self._group)
        return match.string[match.start() : start] + token + match.string[end : match.end()]


class CaseInsensitiveRule(PatternRule):
    """Pattern rule for values that are equal in upper and lower case."""

    def identity(self, value: str) -> str | None:
        """Return the value in lower case, or None for a value that is kept."""
        return super().identity(value.lower())


class FunctionRule(Rule):
    r"""Rule that applies a function from text to text.

        FunctionRule("sorted", lambda text: "\n".join(sorted(text.split("\n"))))

    Args:
        name: name of the rule.
        function: function that gets the text with the placeholders of earlier rules, and returns
            the new text.

    Raises:
        ConfigError: the name is illegal, or `function` is not callable.
    """

    def __init__(self, name: str, function: Callable[[str], str]) -> None:
        """Check the function."""
        super().__init__(name)
        if not callable(function):
            raise ConfigError(
                f"normalisation rule '{name}', function: given {function!r}; legal: a function "
                "from text to text"
            )
        self._function = function

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """Return the function's result.

        Raises:
            ConfigError: the function did not return a string.
        """
        result = self._function(placeholders.decode(text))
        if not isinstance(result, str):
            raise ConfigError(
                f"normalisation rule '{self.name}': its function returned "
                f"{type(result).__name__}; legal: text"
            )
        return placeholders.encode(result)
