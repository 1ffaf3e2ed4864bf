"""Config of a bundle: `config.json` as the OCI runtime specification 1.0.2 has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lisa_container.config.checks import illegal
from lisa_container.images import ExtractedImage
from lisa_container.runtimes.users import User

CONFIG = "config.json"
"""Name of the config's file in a bundle."""

_VERSION = "1.0.2"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Those that engines grant by default.
_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
_MASKED = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("pid", "ipc", "uts", "mount", "cgroup")


class Network(Enum):
    """Network of a container."""

    NONE = "none"
    """A network namespace of its own, with the loopback interface alone."""
    HOST = "host"
    """The machine's network."""


@dataclass(frozen=True)
class Mount:
    """File or folder of the machine that a container sees.

    Attributes:
        source: absolute path on the machine.
        target: absolute path in the container.
        is_read_only: whether the container cannot write to it.
    """

    source: str
    target: str
    is_read_only: bool = False

    def __post_init__(self) -> None:
        """Check the paths."""
        for name in ("source", "target"):
            path = getattr(self, name)
            if not path.startswith("/") or ".." in path.split("/"):
                raise illegal(f"mount, {name}", path, "an absolute path without '..'")


@dataclass(frozen=True)
class BundleSettings:
    """Settings of a container beside those of its image.

    Attributes:
        command: command; None means the image's.
        environment: environment variables, in addition to the image's.
        mounts: files and folders of the machine to mount.
        network: network, or the path of a network namespace, such as `/run/netns/blue`.
        is_read_only: whether the root file system cannot be written to.
    """

    command: Sequence[str] | None
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    network: Network | str
    is_read_only: bool

    def __post_init__(self) -> None:
        """Check the values that have rules."""
        if self.command is not None:
            words = self.command
            fits = not isinstance(words, (str, bytes)) and bool(words)
            if not fits or not all(isinstance(x, str) and "\0" not in x for x in words):
                raise illegal("command", words, "a list of one word or more")
        for key, value in self.environment.items():
            if not key or "=" in key or "\0" in f"{key}{value}":
                raise illegal("environment, name", key, "a name without '='")
        if isinstance(self.network, str) and not self.network.startswith("/"):
            raise illegal(
                "network", self.network, "a member of Network, or the path of a network namespace"
            )


def make_spec(
    image: ExtractedImage, user: User, rootfs: str, name: str, settings: BundleSettings
) -> dict[str, Any]:
    """Return the config of a bundle.

    Args:
        image: The image.
        user: User of the process.
        rootfs: Path of the root file system: absolute, or relative to the bundle.
        name: Host name in the container, and name of its cgroup.
        settings: Settings beside those of the image.

    Raises:
        ConfigError: There is no command.
    """
    command = image.command if settings.command is None else tuple(settings.command)
    if not command:
        raise illegal("command", (), "a command, since the image has none")
    environment = {**image.environment, **settings.environment}
    variables = [f"{key}={value}" for key, value in environment.items()]
    if "PATH" not in environment:
        variables.insert(0, _PATH)
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": _VERSION,
        "process": {
            "terminal": False,
            "user": {
                "uid": user.uid,
                "gid": user.gid,
                "additionalGids": list(user.groups),
            },
            "args": list(command),
            "env": variables,
            "cwd": image.working_dir,
            "capabilities": {each: list(_CAPABILITIES) for each in sets},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": settings.is_read_only},
        "hostname": name,
        "mounts": [*_system_mounts(), *(_bind(mount) for mount in settings.mounts)],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": _namespaces(settings.network),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _namespaces(network: Network | str) -> list[dict[str, str]]:
    listed = [{"type": each} for each in _NAMESPACES]
    if network is Network.NONE:
        listed.append({"type": "network"})
    elif isinstance(network, str):
        listed.append({"type": "network", "path": network})
    return listed


def _system_mounts() -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*safe, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": safe},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*safe, "relatime", "ro"],
        },
    ]


def _bind(mount: Mount) -> dict[str, Any]:
    return {
        "destination": mount.target,
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", "ro" if mount.is_read_only else "rw"],
    }
