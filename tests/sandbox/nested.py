"""A machine of a test's own, to run a runner on it and see all that it changes.

The machine on which the tests run has other things to do; what changes on it proves little. See
nested.sh for what this one is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lisa_container
from lisa_container.platforms.sandbox import SandboxConfig
from lisa_container.platforms.sandbox.keeper.commands import environment
from lisa_container.platforms.sandbox.rootfs import cache_folder

_HERE = Path(__file__).parent
_NAMESPACES = (
    "--mount",
    "--net",
    "--pid",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


def on_own_machine(
    folder: Path, script: str, *arguments: str, setup: str = "", timeout: float = 120
) -> Any:
    """Run a Python script of this folder as the first user of a new machine.

    Args:
        folder: an empty one, for the machine's files.
        script: its name.
        arguments: what it gets.
        setup: shell commands that prepare the machine, run as its root with $WORLD, the pid of the
            process in whose network namespace the world is, at 203.0.113.1.
        timeout: in seconds.

    Returns:
        What the last line that it printed says in JSON.
    """
    base = folder / "machine"
    base.mkdir()
    cache = cache_folder(SandboxConfig())
    source = str(Path(lisa_container.__file__).parent.parent)
    binds = {source, sys.prefix, sys.base_prefix, str(cache), str(_HERE)}
    variables = {k: v for k, v in os.environ.items() if not k.startswith("COV_")}
    variables["PYTHONPATH"] = source
    done = subprocess.run(
        [
            *("unshare", *_NAMESPACES, "/bin/sh", str(_HERE / "nested.sh"), str(base)),
            *(sys.executable, str(_HERE / script), *arguments),
        ],
        env={**environment(), **variables, "BIND": " ".join(sorted(binds)), "SETUP": setup},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])
