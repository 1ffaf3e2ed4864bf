"""Request of the runner to the keeper: one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spec:
    """Request for a sandbox. The runner has checked all values.

    Attributes:
        id: id of the sandbox, part of every name on the machine; letters and digits.
        runner: pid of the process whose end ends the sandbox.
        rootfs: folder with the shared root file system, which is only read.
        data_root: folder for the nodes' files, on a real file system.
        nodes: host names of the nodes.
        user: user who logs in with a key and has sudo without a password.
        password_user: user who logs in with a key or password, and needs the password for sudo.
        password: password of `password_user`.
        docker: whether to start dockerd and wait for it.
        docker_group: whether both users may use Docker without sudo.
        ready_seconds: time limit for a node to become ready, in seconds.
    """

    id: str
    runner: int
    rootfs: str
    data_root: str
    nodes: list[str]
    user: str
    password_user: str
    password: str
    docker: bool
    docker_group: bool
    ready_seconds: float

    def to_json(self) -> str:
        """Return the request as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Spec:
        """Return the request from a line that `to_json` returned."""
        return cls(**json.loads(line))
