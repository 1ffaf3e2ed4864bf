"""Machine in namespaces for one test, to run a runner on it and check all that it changes.

Other programs change the test machine itself at any time. See nested.sh for this machine's set-up.
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

_FOLDER = Path(__file__).parents[1] / "sandbox"
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
    """Run a Python script of tests/sandbox as the first user of a new machine.

    Args:
        folder: an empty folder for the machine's files.
        script: name of the script.
        arguments: its arguments.
        setup: shell commands that prepare the machine, run as its root. $WORLD is the pid of a
            process in the network namespace that stands for the world, at 203.0.113.1.
        timeout: time limit in seconds.

    Returns:
        The last line of the script's output, parsed as JSON.
    """
    base = folder / "machine"
    base.mkdir()
    cache = cache_folder(SandboxConfig())
    source = str(Path(lisa_container.__file__).parent.parent)
    binds = {source, sys.prefix, sys.base_prefix, str(cache), str(_FOLDER)}
    variables = {k: v for k, v in os.environ.items() if not k.startswith("COV_")}
    variables["PYTHONPATH"] = source
    done = subprocess.run(
        [
            *("unshare", *_NAMESPACES, "/bin/sh", str(_FOLDER / "nested.sh"), str(base)),
            *(sys.executable, str(_FOLDER / script), *arguments),
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
