"""Output of an engine while it builds: steps for the log, the tail for an error, all for a file."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa.util import constants

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageBuildError, NoSpaceError
from lisa_container.images.build.dockerfile import Dockerfile
from lisa_container.masking import Masking, Plain, protect, secret_values

# Docker: "Step 2/5 : RUN x"; podman: "[1/2] STEP 2/5: RUN x".
_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)? ?: (.*)", re.IGNORECASE)
_OUR_STEP = re.compile(r"LABEL \"?lisa_container\.")
_EXIT_CODE = re.compile(r"returned a non-zero code: (\d{1,9})|exit status (\d{1,9})")
_BUILT = re.compile(r"^Successfully built ([0-9a-f]{12,64})$|^([0-9a-f]{64})$", re.MULTILINE)
_LINE = re.compile(r"(?<=\bline )\d{1,9}(?!\d)")

# Text that Docker puts into and around the output of a step.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OF_ENGINE = re.compile(r"---> |Removing intermediate container ")

# Characters of output in an error.
_TAIL = 4096

_numbers = itertools.count(1)


class BuildOutput:
    """Output of one build.

    Args:
        engine: engine that builds.
        reference: the image's name, for messages.
        dockerfile: the Dockerfile that is built.
        args: build arguments; the values of secret ones are masked.
    """

    def __init__(
        self,
        engine: Engine,
        reference: ImageReference,
        dockerfile: Dockerfile,
        args: Mapping[str, str],
    ) -> None:
        """Begin without any output."""
        self._engine = engine
        self._reference = reference
        self._dockerfile = dockerfile
        self._masking = Masking(protect(secret_values(args)))
        self._total = len(dockerfile.instructions)
        self._number = 0
        self._tail = ""
        self._rest = ""
        self.step = ""
        """The present step, such as `3/7: RUN make`."""
        self.image = ""
        """The engine's id of the built image, once it is known."""
        self.log = _log_path(reference)
        """File with the whole output."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Add one message of the engine.

        Raises:
            ImageBuildError, NoSpaceError: the message says that the build failed.
        """
        if "error" in line:
            raise self.failure(str(line["error"]))
        aux = line.get("aux")
        if isinstance(aux, Mapping) and str(aux.get("ID", "")):
            self.image = str(aux["ID"])
        self._rest += str(line.get("stream", ""))
        # Whole lines only: a secret may arrive in two pieces.
        whole, newline, self._rest = self._rest.rpartition("\n")
        self._add_text(whole + newline)

    def last_words(self) -> str:
        """Return what the present step has printed, or else the step."""
        return self._tail.strip() or f"step {self.step}"

    def end(self) -> None:
        """Add the last line, which has no newline."""
        self._add_text(self._rest)
        self._rest = ""

    def failure(self, message: str) -> EngineError:
        """Return the error for the engine's last message."""
        self.end()
        if "no space left" in message:
            return NoSpaceError(self._engine.name, message)
        message = _LINE.sub(lambda match: str(self._dockerfile.line_of(int(match[0]))), message)
        message = self._masking.command(message)
        self._write(f"{message}\n")
        code = _EXIT_CODE.search(message)
        return ImageBuildError(
            str(self._reference),
            self._engine.name,
            message,
            step=self.step,
            exit_code=int(code[1] or code[2]) if code else None,
            output=self._tail,
            log=str(self.log),
        )

    def _add_text(self, text: str) -> None:
        text = self._masking.command(_COLOURS.sub("", text))
        if not text:
            return
        self._write(text)
        for line in text.splitlines(keepends=True):
            stripped = line.strip()
            match = _STEP.fullmatch(stripped)
            if match is not None:
                if not _OUR_STEP.match(match[1]):
                    self._begin_step(match[1])
            elif not _OF_ENGINE.match(stripped):
                self._tail = (self._tail + line)[-_TAIL:]
        built = _BUILT.search(text)
        if built and not self.image:
            self.image = built[1] or built[2]

    def _write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)

    def _begin_step(self, instruction: str) -> None:
        self._number += 1
        self.step = f"{self._number}/{max(self._total, self._number)}: {instruction}"
        self._tail = ""
        self._engine.node.log.info(Plain(f"building '{self._reference}', step {self.step}"))


def _log_path(reference: ImageReference) -> Path:
    """Return the path of a new log file, in LISA's log folder of the run where LISA has one."""
    if Path() == constants.RUN_LOCAL_LOG_PATH:
        folder = Path(tempfile.mkdtemp(prefix="lisa_container_builds_"))
    else:
        folder = constants.RUN_LOCAL_LOG_PATH / "builds"
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{reference.tag}-{next(_numbers)}.log"
