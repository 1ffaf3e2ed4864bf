"""Rules for changes of files that are not of interest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lisa_container.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class NoiseRule:
    """Rule for paths to leave out of `changes.json`, which has their number.

        NoiseRule("bytecode", "**/__pycache__/**", "**/*.pyc")

    Args:
        name: lower-case letters, digits and `_`, a letter first.
        patterns: absolute paths, or patterns that begin with `**/`. `*` and `?` match any text or
            letter without a slash, `**` any number of folders, `[…]` one of some letters. A folder
            matches with all in it.

    Raises:
        ConfigError: the name or a pattern is invalid.
    """

    def __init__(self, name: str, *patterns: str) -> None:
        """Check and compile the patterns."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"noise rule, name: given {name!r}; legal: lower-case letters, digits and '_', a "
                "letter first"
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
        """Return whether a path is noise.

        Args:
            path: absolute path.
        """
        return self._pattern.fullmatch(path) is not None


def default_noise_rules() -> tuple[NoiseRule, ...]:
    """Return the rules that apply unless a suite has its own (`change_rules`)."""
    return (
        NoiseRule("engine", "/.dockerenv", "/sbin/docker-init", "/dev", "/run/.containerenv"),
        NoiseRule("cache", "/var/cache", "**/.cache", "**/.npm/_cacache"),
        NoiseRule("package_lists", "/var/lib/apt/lists", "/var/lib/dnf", "/var/lib/apk"),
        NoiseRule("linker_cache", "/etc/ld.so.cache", "/etc/ld.so.cache~"),
        NoiseRule("bytecode", "**/__pycache__", "**/*.pyc"),
        NoiseRule("run", "/run", "/var/run", "/var/lock"),
    )


def glob_pattern(glob: str) -> str:
    """Return the regular expression of a pattern, for whole paths.

    Args:
        glob: path with wildcards.
    """
    result, index = [], 0
    while index < len(glob):
        letter = glob[index]
        if glob.startswith("**/", index):
            # At the begin it matches the root, too.
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


def filter_noise(
    paths: Iterable[str], rules: Iterable[NoiseRule]
) -> tuple[list[str], dict[str, int]]:
    """Return the paths that are not noise, and the number that each rule left out.

    Args:
        paths: absolute paths.
        rules: the rules; the first that matches counts.
    """
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
