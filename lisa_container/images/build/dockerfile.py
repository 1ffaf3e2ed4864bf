"""What must be known of a Dockerfile before it is built: its instructions, stages and bases.

https://docs.docker.com/reference/dockerfile/; everything else is the engine's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lisa_container.config.checks import illegal
from lisa_container.config.images import image as check_image
from lisa_container.errors import ConfigError

_ESCAPE_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*[a-z]+\s*=.*", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<how>:[-+])(?P<word>[^}]*))?\})")
_FLAG = re.compile(r"--[a-z]+(?:=\S*)?\s+")
_COPY_FROM = re.compile(r"(?:--[a-z]+(?:=\S*)?\s+)*?--from=(\S+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Args:
        word: `FROM` and so on, in capitals.
        rest: what stands behind it, on one line.
        end: index of its last line.
    """

    word: str
    rest: str
    end: int


@dataclass(frozen=True)
class _Stage:
    name: str
    base: str
    copied: tuple[str, ...]


class Dockerfile:
    """A Dockerfile's text, taken apart.

    Args:
        text: of it.

    Raises:
        ConfigError: it has no FROM.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.instructions = _instructions(text)
        if not any(each.word == "FROM" for each in self.instructions):
            raise ConfigError("build: given a Dockerfile without FROM; legal: one stage at least")

    def bases(self, args: Mapping[str, str], target: str) -> list[str]:
        """The images that it is built upon or copies from, without its own stages and `scratch`.

        Args:
            args: given for its ARG instructions.
            target: the last stage that is built; empty for all.

        Raises:
            ConfigError: there is no such stage, or a base is no name of an image.
        """
        stages = self._stages(args)
        names = [stage.name for stage in stages]
        if target:
            wanted = target.lower()
            last = int(wanted) if wanted.isdigit() else -1
            last = names.index(wanted) if wanted in names else last
            if not 0 <= last < len(stages):
                there = ", ".join(f"'{name}'" for name in names if name) or "none has a name"
                raise illegal("build.target", target, f"a stage of the Dockerfile ({there})")
            stages = stages[: last + 1]
        bases: list[str] = []
        for number, stage in enumerate(stages):
            own = {*(name for name in names[:number] if name), *map(str, range(number))}
            if stage.base.lower() not in {*own, "scratch"}:
                bases.append(stage.base)
            bases += [each for each in stage.copied if each.lower() not in own]
        for base in bases:
            if not check_image("build, FROM", base):
                raise ConfigError(
                    "build: given a FROM whose image is empty; legal: a name (is an ARG missing?)"
                )
        return list(dict.fromkeys(bases))

    def labelled(self, label: str) -> str:
        """The text with a further instruction at the begin of each stage.

        Args:
            label: the whole instruction.
        """
        lines = self.text.splitlines()
        ends = [each.end for each in self.instructions if each.word == "FROM"]
        for end in reversed(ends):
            lines.insert(end + 1, label)
        return "\n".join(lines) + "\n"

    def line_of(self, labelled: int) -> int:
        """The number of a line, from its number in the labelled text; both from 1 on."""
        ends = [each.end for each in self.instructions if each.word == "FROM"]
        return labelled - sum(end + 1 + number < labelled - 1 for number, end in enumerate(ends))

    def _stages(self, args: Mapping[str, str]) -> list[_Stage]:
        known: dict[str, str] = {}
        stages: list[_Stage] = []
        for each in self.instructions:
            if each.word == "FROM":
                words = _without_flags(each.rest).split()
                name = words[2].lower() if len(words) == 3 and words[1].lower() == "as" else ""
                stages.append(_Stage(name, _expanded(words[0] if words else "", known), ()))
            elif each.word == "ARG" and not stages:
                name, _, default = each.rest.partition("=")
                known[name.strip()] = args.get(name.strip(), default.strip().strip("\"'"))
            elif each.word == "COPY":
                found = _COPY_FROM.match(each.rest)
                if found:
                    last = stages[-1]
                    stages[-1] = _Stage(last.name, last.base, (*last.copied, found[1]))
        return stages


def _instructions(text: str) -> list[Instruction]:
    escape, found, begun = "\\", [], ""
    is_begin = True  # where directives may stand
    for number, line in enumerate(text.splitlines()):
        stripped = line.strip()
        if stripped.startswith("#"):
            match = _ESCAPE_DIRECTIVE.fullmatch(stripped) if is_begin else None
            escape = match[1] if match else escape
            is_begin = is_begin and bool(_DIRECTIVE.fullmatch(stripped))
            continue
        is_begin = False
        if not stripped:
            continue
        if stripped.endswith(escape):
            begun += f"{stripped[:-1]} "
            continue
        word, _, rest = f"{begun}{stripped}".strip().partition(" ")
        found.append(Instruction(word.upper(), rest.strip(), number))
        begun = ""
    return found


def _without_flags(rest: str) -> str:
    while True:
        match = _FLAG.match(rest)
        if match is None:
            return rest
        rest = rest[match.end() :]


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, how, word = match["plain"] or match["name"], match["how"], match["word"] or ""
        found = known.get(name, "")
        if how == ":-":
            return found or word
        if how == ":+":
            return word if found else ""
        return found

    return _VARIABLE.sub(value, text)
