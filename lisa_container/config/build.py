"""`BuildSpec`: the input of a build, the part of Compose's `build` that all engines support.

The names are those of https://docs.docker.com/reference/compose-file/build/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lisa.util import constants

from lisa_container.config.checks import (
    EMPTY,
    FrozenDict,
    KnownFields,
    check_names,
    environment,
    illegal,
    text,
)
from lisa_container.errors import ConfigError

_LEGAL = (
    "a folder with a Dockerfile, or a mapping of context, dockerfile, dockerfile_inline, args, "
    "target, network"
)


@dataclass(frozen=True)
class BuildSpec(KnownFields):
    """Dockerfile and its input.

    Paths are on the machine that runs LISA. A relative path starts at the folder of the runbook, or
    at the working directory without a runbook. A relative `dockerfile` starts at the context if one
    is given, as in Compose.

    Args:
        context: folder whose files the Dockerfile may copy. Default: the folder of the Dockerfile;
            none with `dockerfile_inline`.
        dockerfile: path of the Dockerfile. Default: `Dockerfile` in the context.
        dockerfile_inline: text of the Dockerfile, instead of a path.
        args: values for its ARG instructions. The image's history keeps them: use no secrets.
        target: the stage to build. Default: the last one.
        network: network of its RUN instructions: `host`, `none` or a name. Default: the engine's.

    Raises:
        ConfigError: a value is wrong. `check_files` checks whether the files exist.
    """

    context: str = ""
    dockerfile: str = ""
    dockerfile_inline: str = ""
    args: Mapping[str, str] = field(default=EMPTY, repr=False)
    target: str = ""
    network: str = ""

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
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
        """Return this object if its files exist.

        Raises:
            ConfigError: the folder or the Dockerfile does not exist.
        """
        if self.context and not Path(self.context).is_dir():
            raise illegal("build.context", self.context, "a folder of this machine")
        if self.dockerfile and not Path(self.dockerfile).is_file():
            raise illegal("build.dockerfile", self.dockerfile, "a Dockerfile of this machine")
        return self


def build(name: str, value: Any) -> FrozenDict[Any]:
    """Check the config's field; return the fields of a `BuildSpec`, or nothing."""
    if isinstance(value, BuildSpec):
        spec = value
    elif isinstance(value, str) and value:
        spec = BuildSpec(context=value)
    elif isinstance(value, Mapping):
        if not value:
            return FrozenDict({}, name)
        legal = [each.name for each in fields(BuildSpec)]
        check_names(value, legal, f"{name}, key")
        spec = BuildSpec(**{key: item for key, item in value.items() if item is not None})
    else:
        raise ConfigError(f"{name}: given a {type(value).__name__}; legal: {_LEGAL}")
    values = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return FrozenDict({key: item for key, item in values.items() if item}, name)


def _base() -> str:
    return str(getattr(constants, "RUNBOOK_PATH", "") or Path.cwd())


def _absolute(path: str, base: str) -> str:
    return str((Path(base) / Path(path).expanduser()).resolve())
