"""Parts of a Dockerfile that a build needs: the base images, and the ends of the FROM lines.

All other parts, and the decision what is legal, are left to the engine. Lines and words are split
as its parser does: https://github.com/moby/buildkit, frontend/dockerfile. The content is bytes; as
text, bytes that are not UTF-8 are lone surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lisa_container.config.checks import illegal
from lisa_container.config.images import image as check_image
from lisa_container.errors import ConfigError
from lisa_container.images.build.words import (
    PLATFORM_ARGS,
    SPACES,
    UnclearError,
    expand,
    split_flags,
    split_words,
)
from lisa_container.parsing import parse_int

_ESCAPE_DIRECTIVE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*([\\`])[ \t]*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*[a-z][a-z0-9]*\s*=.*", re.IGNORECASE | re.DOTALL)
_CONTINUED = {escape: re.compile(rf"{re.escape(escape)}[ \t]*$") for escape in "\\`"}
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_HEREDOC = re.compile(r"\d*<<(-?)(['\"]?)([^\s<'\"]+)\2")
_WITH_HEREDOC = ("ADD", "COPY", "RUN")
_BOM = "\ufeff"


@dataclass(frozen=True)
class Instruction:
    """Instruction of a Dockerfile.

    Args:
        word: its name in capitals, such as `FROM`.
        rest: the text behind the name, joined to one line.
        end: index of its last line.
    """

    word: str
    rest: str
    end: int


@dataclass(frozen=True)
class _Stage:
    """Stage of a build; `base` is None if only the engine can tell it."""

    name: str
    base: str | None
    copied: tuple[str, ...]


class Dockerfile:
    """Dockerfile, as far as a build must know it.

    Args:
        content: content of the file.
    """

    def __init__(self, content: bytes) -> None:
        """Find the instructions."""
        self.content = content
        self._lines = content.decode("utf-8", "surrogateescape").split("\n")
        self._escape = "\\"
        self._is_open = False
        self.instructions = self._parse()

    def bases(self, args: Mapping[str, str], target: str) -> list[str]:
        """Return the images that it is based on or copies from, without its stages and `scratch`.

        Images that only the engine can tell are left out; it pulls them itself.

        Args:
            args: values for its ARG instructions.
            target: the last stage that is built; empty for all.

        Raises:
            ConfigError: it has no stage, the target does not exist, or a base is no name of an
                image.
        """
        stages = self._stages(args)
        if not stages:
            raise ConfigError("build: given a Dockerfile without FROM; legal: one stage at least")
        names = [stage.name for stage in stages]
        if target:
            wanted = target.lower()
            last = names.index(wanted) if wanted in names else parse_int(wanted)
            if last is None or not 0 <= last < len(stages):
                legal = ", ".join(f"'{name}'" for name in names if name) or "none has a name"
                raise illegal("build.target", target, f"a stage of the Dockerfile ({legal})")
            stages = stages[: last + 1]
        bases: list[str] = []
        for number, stage in enumerate(stages):
            own = {*(name for name in names[:number] if name), *map(str, range(number))}
            if stage.base is not None and stage.base.lower() not in {*own, "scratch"}:
                bases.append(stage.base)
            bases += [each for each in stage.copied if each.lower() not in own]
        for base in bases:
            if not check_image("build, FROM", base):
                raise ConfigError(
                    "build: given a FROM whose image is empty; legal: a name (is an ARG missing?)"
                )
        return list(dict.fromkeys(bases))

    def labelled(self, label: str) -> bytes:
        """Return the content with an instruction inserted at the start of each stage.

        Args:
            label: the whole instruction.
        """
        lines = list(self._lines)
        for number in reversed(self.ends()):
            lines.insert(number, label)
        return "\n".join(lines).encode("utf-8", "surrogateescape")

    def line_of(self, labelled: int) -> int:
        """Return the number of a line, from its number in the labelled text; both count from 1."""
        ends = enumerate(self.ends())
        return labelled - sum(end + number < labelled - 1 for number, end in ends)

    def ends(self) -> list[int]:
        """Return the numbers (from 1) of the last lines of the FROM instructions with an end."""
        ended = self.instructions[: -1 if self._is_open else None]
        return [each.end + 1 for each in ended if each.word == "FROM"]

    def _stages(self, args: Mapping[str, str]) -> list[_Stage]:
        known: dict[str, str] | None = {}
        stages: list[_Stage] = []
        for each in self.instructions:
            if each.word == "FROM":
                words = _BLANKS.split(split_flags(each.rest)[1])
                name = words[2].lower() if len(words) == 3 and words[1].lower() == "as" else ""
                stages.append(_Stage(name, self._base(words[0], known), ()))
            elif each.word == "ARG" and not stages and known is not None:
                try:
                    self._define(each.rest, args, known)
                except UnclearError:
                    known = None
            elif each.word == "COPY" and stages:
                for flag in split_flags(each.rest)[0]:
                    name, _, source = flag.partition("=")
                    if name == "--from" and source and "$" not in source:
                        last = stages[-1]
                        stages[-1] = _Stage(last.name, last.base, (*last.copied, source))
        return stages

    def _base(self, word: str, known: Mapping[str, str] | None) -> str | None:
        if known is None and "$" in word:
            return None
        try:
            return expand(word, known or {}, self._escape)
        except UnclearError:
            return None

    def _define(self, rest: str, args: Mapping[str, str], known: dict[str, str]) -> None:
        for word in split_words(rest, self._escape):
            name, equals, default = word.partition("=")
            if name in args:
                known[name] = args[name]
            elif equals and name not in PLATFORM_ARGS:
                known[name] = expand(default, known, self._escape)

    def _parse(self) -> list[Instruction]:
        found: list[Instruction] = []
        begun: str | None = None
        is_begin = True  # only there may directives stand
        until = -1  # index of the last line of a here-document
        for number, line in enumerate(self._lines):
            if number <= until:
                continue
            line = line.rstrip("\r")
            if number == 0:
                line = line.removeprefix(_BOM)
            stripped = line.lstrip(SPACES)
            if stripped.startswith("#"):
                directive = _ESCAPE_DIRECTIVE.match(stripped) if is_begin else None
                self._escape = directive[1] if directive else self._escape
                is_begin = is_begin and bool(_DIRECTIVE.fullmatch(stripped))
                continue
            is_begin = False
            if not stripped:
                continue
            text = stripped if begun is None else begun + line
            end = _CONTINUED[self._escape].search(text)
            if end is not None:
                begun = text[: end.start()]
                continue
            begun = None
            until = self._add(found, text, number)
        if begun:  # its last line ends with the escape character
            self._is_open = True
            self._add(found, begun, len(self._lines) - 1)
        return found

    def _add(self, found: list[Instruction], text: str, number: int) -> int:
        """Add an instruction; return the index of its last line."""
        word, *rest = _BLANKS.split(text.strip(SPACES), maxsplit=1)
        instruction = Instruction(word.upper(), rest[0] if rest else "", number)
        end = number
        if instruction.word in _WITH_HEREDOC:
            for each in instruction.rest.split():
                match = _HEREDOC.fullmatch(each)
                end = self._end_of_heredoc(end, match[3], bool(match[1])) if match else end
        found.append(Instruction(instruction.word, instruction.rest, end))
        return end

    def _end_of_heredoc(self, number: int, name: str, is_indented: bool) -> int:
        for index in range(number + 1, len(self._lines)):
            line = self._lines[index].rstrip("\r")
            if (line.lstrip("\t") if is_indented else line) == name:
                return index
        return number  # an engine without here-documents takes it for a word of the command
