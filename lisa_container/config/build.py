"""What an image is built from: the part of Compose's `build` that all engines have.

The names are those of https://docs.docker.com/reference/compose-file/build/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lisa.util import constants

from lisa_container.config.checks import EMPTY, FrozenDict, environment, illegal, nearest, text
from lisa_container.errors import ConfigError

_LEGAL = (
    "a folder with a Dockerfile, or a mapping of context, dockerfile, dockerfile_inline, args, "
    "target, network"
)


@dataclass(frozen=True)
class BuildSpec:
    """A Dockerfile, and what it is built with.

    Paths are of the runner. One that is relative is below the folder of the runbook, where LISA
    runs one, else below the working directory; that of a Dockerfile is below the context where
    there is one, as in Compose.

    Args:
        context: folder whose files the Dockerfile may copy. Default: that of the Dockerfile; none
            with `dockerfile_inline`.
        dockerfile: path. Default: `Dockerfile` in the context.
        dockerfile_inline: the Dockerfile's text, instead of a path.
        args: for its ARG instructions. They end in the image's history: no place for secrets.
        target: the stage to build. Default: the last one.
        network: of its RUN instructions: `host`, `none` or a network's name. Default: the engine's.

    Raises:
        ConfigError: a value is wrong. Whether the files are there is not looked at yet.
    """

    context: str = ""
    dockerfile: str = ""
    dockerfile_inline: str = ""
    args: Mapping[str, str] = field(default=EMPTY, repr=False)
    target: str = ""
    network: str = ""

    def __post_init__(self) -> None:
        for name in ("context", "dockerfile", "dockerfile_inline", "target", "network"):
            text(f"build.{name}", getattr(self, name), "a string")
        object.__setattr__(self, "args", environment("build.args", self.args))
        if self.dockerfile and self.dockerfile_inline:
            raise ConfigError("build: given dockerfile and dockerfile_inline; legal: one of them")
        if not (self.context or self.dockerfile or self.dockerfile_inline):
            raise ConfigError("build: given no Dockerfile; legal: " + _LEGAL)
        context, dockerfile = self.context, self.dockerfile
        if context:
            context = _absolute(context, _base())
        if not self.dockerfile_inline:
            dockerfile = _absolute(dockerfile or "Dockerfile", context or _base())
            context = context or str(Path(dockerfile).parent)
        object.__setattr__(self, "context", context)
        object.__setattr__(self, "dockerfile", dockerfile)

    def check_files(self) -> BuildSpec:
        """This, if its files are there.

        Raises:
            ConfigError: they are not.
        """
        if self.context and not Path(self.context).is_dir():
            raise illegal("build.context", self.context, "a folder of this machine")
        if self.dockerfile and not Path(self.dockerfile).is_file():
            raise illegal("build.dockerfile", self.dockerfile, "a Dockerfile of this machine")
        return self


def build(name: str, value: Any) -> FrozenDict[Any]:
    """The rule of the config's field: nothing, or what a `BuildSpec` was made of."""
    if isinstance(value, BuildSpec):
        spec = value
    elif isinstance(value, str) and value:
        spec = BuildSpec(context=value)
    elif isinstance(value, Mapping):
        if not value:
            return EMPTY
        legal = [each.name for each in fields(BuildSpec)]
        for key in value:
            if key not in legal:
                raise illegal(f"{name}, key", key, ", ".join(legal), nearest(key, legal))
        spec = BuildSpec(**{key: item for key, item in value.items() if item is not None})
    else:
        raise ConfigError(f"{name}: given a {type(value).__name__}; legal: {_LEGAL}")
    found = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return FrozenDict({key: item for key, item in found.items() if item})


def _base() -> str:
    return str(getattr(constants, "RUNBOOK_PATH", "") or Path.cwd())


def _absolute(path: str, base: str) -> str:
    return str((Path(base) / Path(path).expanduser()).resolve())
