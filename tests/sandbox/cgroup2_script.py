"""Script for a machine with only cgroup version 2; see test_sandbox_cgroups.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lisa_container.platforms.sandbox import start_sandbox

_ROOT = Path("/sys/fs/cgroup")


def main() -> None:
    handed_before = (_ROOT / "cgroup.subtree_control").read_text(encoding="ascii")
    with start_sandbox(1) as sandbox:
        node = sandbox.nodes[0]
        folder = Path("/sys/fs/cgroup", f"lisa_container.{_id_of(node.pid)}.{node.name}")
        node.run(
            "mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/sh"
            " && tar -C /root/image -c . | docker import - box"
        )
        found = {
            "node": node.run("grep ^0: /proc/self/cgroup").stdout.strip(),
            "container": node.run(
                "docker run --rm box sh -c 'cat /proc/1/cgroup | grep ^0:'"
            ).stdout.strip(),
            "engine": node.run("docker info --format '{{.CgroupVersion}}'").stdout.strip(),
            "controllers": (folder / "cgroup.controllers").read_text(encoding="ascii").split(),
            "handed": (folder / "cgroup.subtree_control").read_text(encoding="ascii").split(),
            "machine": (_ROOT / "cgroup.controllers").read_text(encoding="ascii").split(),
        }
    found["left"] = folder.exists()
    found["handed before"] = handed_before
    found["handed after"] = (_ROOT / "cgroup.subtree_control").read_text(encoding="ascii")
    os.write(1, f"{json.dumps(found)}\n".encode())


def _id_of(pid: int) -> str:
    """Return the sandbox's id from the name of its cgroup."""
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
    path = next(line for line in lines if line.startswith("0:"))
    return path.split("lisa_container.")[1].split(".")[0]


if __name__ == "__main__":
    main()
