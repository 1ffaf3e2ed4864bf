"""What a rule is, and the two kinds that users write themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern
from typing import Any, Callable

from lisa_container.capture.normalise.placeholders import Placeholders
from lisa_container.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def check_name(name: Any) -> str:
    """The name of a rule or placeholder.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"normalisation rule, name: given {name!r}; legal: up to 40 small letters, digits and "
            "'-', a letter first"
        )
    return name


class Rule:
    """One thing that differs between runs, and what becomes of it. Base of all rules.

    Args:
        name: by which it is removed or replaced.
        placeholder: what stands in its place, without `<` and `>`; by default the name.
    """

    is_first = False
    """It makes out what a reader sees, and comes before all that look for something in there."""

    def __init__(self, name: str, placeholder: str = "") -> None:
        self.name = check_name(name)
        self.placeholder = check_name(placeholder or name)

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """The text after this rule.

        Args:
            text: with tokens where placeholders are.
            placeholders: makes them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply()")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class PatternRule(Rule):
    """What matches a regular expression becomes a placeholder.

        PatternRule("build", r"build-(?P<value>\\d+)")     # build-42 -> build-<build>
        PatternRule("session", r"sess_\\w+", numbered=True)  # sess_x sess_y sess_x
                                        # -> <session 1> <session 2> <session 1>

    Args:
        name: of the rule.
        pattern: a regular expression. With a group `value` only that is replaced, and the rest must
            be around it. It must not match nothing.
        placeholder: by default the name.
        numbered: number the values: the same one twice has the same number.
        keep: values that stay as they are.
        flags: of `re`.

    Raises:
        ConfigError: the name or the pattern is wrong.
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
                "one that does not match the empty text, as it would match between any two letters"
            )
        self._group: str | int = "value" if "value" in self._pattern.groupindex else 0
        self._numbered = numbered
        self._keep = frozenset(keep)

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """The text with placeholders for what matches."""
        return self._pattern.sub(lambda match: self._replace(match, placeholders), text)

    def identity(self, value: str) -> str | None:
        """What two spellings of the same thing have in common; None: leave it as it is.

        Args:
            value: what matched.
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


class FunctionRule(Rule):
    """Any function from text to text.

        FunctionRule("sorted", lambda text: "\\n".join(sorted(text.split("\\n"))))

    Args:
        name: of the rule.
        function: gets the text with the placeholders of the rules before it, and returns it anew.

    Raises:
        ConfigError: the name is wrong, or it is no function.
    """

    def __init__(self, name: str, function: Callable[[str], str]) -> None:
        super().__init__(name)
        if not callable(function):
            raise ConfigError(
                f"normalisation rule '{name}', function: given {function!r}; legal: a function "
                "from text to text"
            )
        self._function = function

    def apply(self, text: str, placeholders: Placeholders) -> str:
        """What the function makes of the text.

        Raises:
            ConfigError: it made no text of it.
        """
        made = self._function(placeholders.decode(text))
        if not isinstance(made, str):
            raise ConfigError(
                f"normalisation rule '{self.name}': its function returned "
                f"{type(made).__name__}; legal: text"
            )
        return placeholders.encode(made)
