"""Rules for changes in a file system that no test is about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lisa_container.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class NoiseRule:
    """Leaves paths out of `changes.json`, which tells how many.

        NoiseRule("bytecode", "**/__pycache__/**", "**/*.pyc")

    Args:
        name: small letters, digits and `_`.
        patterns: absolute paths, or such that begin with `**/`. `*` and `?` stand for anything but
            a slash, `**` for any number of folders, `[…]` for one of some letters. A folder stands
            for all in it, too.

    Raises:
        ConfigError: the name or a pattern is wrong.
    """

    def __init__(self, name: str, *patterns: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"noise rule, name: given {name!r}; legal: small letters, digits and '_', a letter "
                "first"
            )
        for pattern in patterns:
            if not isinstance(pattern, str) or not pattern.startswith(("/", "**/")):
                raise ConfigError(
                    f"noise rule '{name}', pattern: given {pattern!r}; legal: an absolute path "
                    "with wildcards, or one that begins with '**/'"
                )
        self.name = name
        self.patterns = patterns
        self._pattern = re.compile("|".join(f"(?:{glob_pattern(x)})(?:/.*)?" for x in patterns))

    def matches(self, path: str) -> bool:
        """Whether the path is noise."""
        return self._pattern.fullmatch(path) is not None


def default_noise_rules() -> tuple[NoiseRule, ...]:
    """The rules that apply unless a suite has its own (`change_rules`)."""
    return (
        NoiseRule("engine", "/.dockerenv", "/sbin/docker-init", "/dev", "/run/.containerenv"),
        NoiseRule("cache", "/var/cache", "**/.cache", "**/.npm/_cacache"),
        NoiseRule("package_lists", "/var/lib/apt/lists", "/var/lib/dnf", "/var/lib/apk"),
        NoiseRule("linker_cache", "/etc/ld.so.cache", "/etc/ld.so.cache~"),
        NoiseRule("bytecode", "**/__pycache__", "**/*.pyc"),
        NoiseRule("run", "/run", "/var/run", "/var/lock"),
    )


def glob_pattern(glob: str) -> str:
    """A path with wildcards as a regular expression for whole paths."""
    result, index = [], 0
    while index < len(glob):
        letter = glob[index]
        if glob.startswith("**/", index):
            # At the begin it stands for the root as well.
            result.append("/(?:.*/)?" if index == 0 else "(?:.*/)?")
            index += 3
            continue
        if glob.startswith("**", index):
            result.append(".*")
            index += 2
            continue
        end = glob.find("]", index + 2) if letter == "[" else -1
        if end > 0:
            body = glob[index + 1 : end].replace("\\", "\\\\")
            negated = body[0] in "!^"
            result.append(f"[{'^/' if negated else ''}{body[1:] if negated else body}]")
            index = end + 1
            continue
        result.append({"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter))
        index += 1
    return "".join(result)


def sift(paths: Iterable[str], rules: Iterable[NoiseRule]) -> tuple[list[str], dict[str, int]]:
    """The paths that are no noise, and how many each rule left out."""
    left: list[str] = []
    counts: dict[str, int] = {}
    rules = list(rules)
    for path in paths:
        rule = next((rule for rule in rules if rule.matches(path)), None)
        if rule is None:
            left.append(path)
        else:
            counts[rule.name] = counts.get(rule.name, 0) + 1
    return left, counts
