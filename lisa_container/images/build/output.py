"""What an engine says while it builds: steps for the log, the end of it for an error, all for a
file."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa.util import constants

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageBuildError, NoSpaceError
from lisa_container.images.build.dockerfile import Dockerfile

# Docker: "Step 2/5 : RUN x"; podman: "[1/2] STEP 2/5: RUN x".
_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)? ?: (.*)", re.IGNORECASE)
_OUR_STEP = re.compile(r"LABEL \"?lisa_container\.")
_EXIT_CODE = re.compile(r"returned a non-zero code: (\d+)|exit status (\d+)")
_BUILT = re.compile(r"^Successfully built ([0-9a-f]{12,64})$|^([0-9a-f]{64})$", re.MULTILINE)
_LINE = re.compile(r"(?<=\bline )\d+")

# What Docker puts around a step's output, and into it.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OF_ENGINE = re.compile(r"---> |Removing intermediate container ")

# Characters of output that an error has.
_TAIL = 4096

# Names of arguments whose values are kept out of logs and errors; shorter values are words.
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_SHORTEST_SECRET = 4

_numbers = itertools.count(1)


def secret_args(args: Mapping[str, str]) -> list[str]:
    """The names of the arguments that look like secrets."""
    return [name for name, value in args.items() if _SECRET_NAME.search(name) and value]


class BuildOutput:
    """Takes what an engine says.

    Args:
        engine: of the node.
        reference: the image's name, for messages.
        dockerfile: that is built.
        args: whose secrets are to be kept out.
    """

    def __init__(
        self, engine: Engine, reference: str, dockerfile: Dockerfile, args: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._reference = reference
        self._dockerfile = dockerfile
        self._secrets = [
            args[name] for name in secret_args(args) if len(args[name]) >= _SHORTEST_SECRET
        ]
        self._total = len(dockerfile.instructions)
        self._number = 0
        self._tail = ""
        self._rest = ""
        self.step = ""
        """The step that is under way, as `3/7: RUN make`."""
        self.image = ""
        """The engine's id of what was built, once that is known."""
        self.log = _log_path(reference)
        """The file with all of it."""

    def take(self, line: Mapping[str, Any]) -> None:
        """One line of the engine.

        Raises:
            ImageBuildError, NoSpaceError: it says that the build failed.
        """
        if "error" in line:
            raise self.failure(str(line["error"]))
        aux = line.get("aux")
        if isinstance(aux, Mapping) and str(aux.get("ID", "")):
            self.image = str(aux["ID"])
        self._rest += str(line.get("stream", ""))
        # Whole lines only: a secret may come in two pieces.
        whole, newline, self._rest = self._rest.rpartition("\n")
        self._add(whole + newline)

    def end(self) -> None:
        """All was said."""
        self._add(self._rest)
        self._rest = ""

    def failure(self, said: str) -> EngineError:
        """The error for what the engine said at the end."""
        self.end()
        if "no space left" in said:
            return NoSpaceError(self._engine.name, said)
        said = _LINE.sub(lambda found: str(self._dockerfile.line_of(int(found[0]))), said)
        said = self._masked(said)
        self._write(f"{said}\n")
        code = _EXIT_CODE.search(said)
        return ImageBuildError(
            self._reference,
            self._engine.name,
            said,
            step=self.step,
            exit_code=int(code[1] or code[2]) if code else None,
            output=self._tail,
            log=str(self.log),
        )

    def _add(self, said: str) -> None:
        said = self._masked(_COLOURS.sub("", said))
        if not said:
            return
        self._write(said)
        for line in said.splitlines(keepends=True):
            text = line.strip()
            match = _STEP.fullmatch(text)
            if match is not None:
                if not _OUR_STEP.match(match[1]):
                    self._begin(match[1])
            elif not _OF_ENGINE.match(text):
                self._tail = (self._tail + line)[-_TAIL:]
        found = _BUILT.search(said)
        if found and not self.image:
            self.image = found[1] or found[2]

    def _write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)

    def _begin(self, instruction: str) -> None:
        self._number += 1
        self.step = f"{self._number}/{max(self._total, self._number)}: {instruction}"
        self._tail = ""
        self._engine.node.log.info(f"building '{self._reference}', step {self.step}")

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _log_path(reference: str) -> Path:
    """A new file for a log: in LISA's folder of the run, where it is one."""
    if Path() == constants.RUN_LOCAL_LOG_PATH:
        folder = Path(tempfile.mkdtemp(prefix="lisa_container_builds_"))
    else:
        folder = constants.RUN_LOCAL_LOG_PATH / "builds"
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{reference.rpartition(':')[2]}-{next(_numbers)}.log"
