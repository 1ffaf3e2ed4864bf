"""Description of the machine that the numbers were measured on, without host names and paths."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import docker


def describe_machine(api: docker.APIClient) -> dict[str, str]:
    """Return the relevant properties of this machine and of the node's engine.

    Args:
        api: client of the node's engine.
    """
    info, version = api.info(), api.version()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "node": str(info["OperatingSystem"]),
        "engine": f"Docker {version['Version']}, storage driver {info['Driver']}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def load() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
