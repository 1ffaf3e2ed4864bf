"""What the runner asks the keeper for: one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spec:
    """A sandbox as the keeper sees it; everything is checked and decided already.

    Attributes:
        id: names everything that the sandbox makes on the machine; letters and digits.
        runner: pid of the process whose end ends the sandbox.
        rootfs: folder with the common root file system; it is only read.
        data_root: folder on a real file system, for the nodes' files.
        nodes: the nodes' host names.
        user: name of the user with sudo; logs in by key.
        password_user: name of the user who needs a password for sudo; logs in by key and password.
        password: his.
        docker: whether dockerd is started and waited for.
        docker_group: whether both users may use Docker without sudo.
        ready_seconds: how long a node may take to be ready.
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
        """One line, see `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Spec:
        """The counterpart of `to_json`."""
        return cls(**json.loads(line))
