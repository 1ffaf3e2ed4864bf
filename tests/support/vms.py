"""Commands in virtual machines by OpenSSH's own client, and the mark of dear tests."""

from __future__ import annotations

import subprocess
import tempfile

import pytest

from lisa_container.microvm import MicroVm

SOME_BOOTS = pytest.mark.sampled(3, "vm/boots")
"""Mark of dear tests whose VMs boot instead of being cloned: `make test` runs three of them."""


def run_in(vm: MicroVm, command: str, user: str = "", seconds: float = 60) -> str:
    """Run a command over SSH, with the VM's host key as the only known one; return its stdout."""
    name, *rest = vm.ssh_command(user)
    with tempfile.NamedTemporaryFile("w") as known:
        known.write(f"[{vm.address}]:{vm.port} {vm.host_key}\n")
        known.flush()
        # The first value of an option wins.
        options = ["-o", f"UserKnownHostsFile={known.name}", "-o", "StrictHostKeyChecking=yes"]
        done = subprocess.run(
            [name, *options, *rest, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
