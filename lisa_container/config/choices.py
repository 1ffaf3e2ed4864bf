"""Choices: values of the config's fields that are one of a few words."""

from __future__ import annotations

from enum import Enum


class Scope(str, Enum):
    """Lifetime of a container.

    - `suite`: one container for all cases of a suite with the same config on the same node.
    - `case`: a new container for each case.
    """

    SUITE = "suite"
    CASE = "case"


class Evidence(str, Enum):
    """Condition for recording the whole state of a container at the end of a case.

    - `failure`: record when the case failed.
    - `always`: record after each case.
    - `never`: never record.
    """

    FAILURE = "failure"
    ALWAYS = "always"
    NEVER = "never"


class Init(str, Enum):
    """First process (PID 1) of a container.

    - `keep`: a process that only keeps the container running, behind the engine's init.
    - `image`: the image's own command, such as systemd; `entrypoint` and `command` replace it.
    - `engine`: the same, behind the engine's init, as `docker run --init`.
    """

    KEEP = "keep"
    IMAGE = "image"
    ENGINE = "engine"


class KeepContainers(str, Enum):
    """Condition for leaving a container on its node when its suite or case ends.

    - `no`: never.
    - `failed`: leave it if a case failed in it; later cases of its suite get a new one.
    - `always`: leave it.
    """

    NO = "no"
    FAILED = "failed"
    ALWAYS = "always"

    @classmethod
    def _missing_(cls, value: object) -> KeepContainers | None:
        return cls.NO if value is False else None  # a bare `no` in YAML


class PullPolicy(str, Enum):
    """Condition for pulling an image, as in `docker run --pull`.

    - `always`: pull before each container, which follows a tag that moves.
    - `missing`: pull when the node has no image of that name.
    - `never`: never pull; a container fails to start if the node lacks the image.
    """

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"
