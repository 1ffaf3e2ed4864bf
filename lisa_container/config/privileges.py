"""Rules for capabilities and security options."""

from __future__ import annotations

import re
from typing import Any

from lisa_container.config.checks import illegal, nearest, strings

_PREFIX = "CAP_"
_ALL = "ALL"

# linux/capability.h, in its order, from 0 to CAP_LAST_CAP of Linux 5.9 and later.
CAPABILITIES = tuple(
    _PREFIX + name
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID"),
        *("SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST"),
        *("NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO"),
        *("SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
        *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE"),
        *("AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM"),
        *("BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
    )
)
_LEGAL_CAPABILITY = f"{_ALL} or, with or without {_PREFIX}, of {', '.join(CAPABILITIES)}"

# Names that Docker and Podman know. The engines check the values.
_SECURITY_OPTIONS = (
    *("apparmor", "label", "no-new-privileges", "seccomp", "systempaths", "writable-cgroups"),
    *("mask", "unmask", "proc-opts"),
)
_LEGAL_SECURITY = f"'option' or 'option=value', the option of {', '.join(_SECURITY_OPTIONS)}"


def capabilities(field: str, value: Any) -> tuple[str, ...]:
    """Check capabilities; return CAP_X or ALL, each once, in the kernel's order."""
    wanted = set()
    for item in strings(field, value, "capability names"):
        name = item.upper()
        bare = name[len(_PREFIX) :] if name.startswith(_PREFIX) else name
        if bare == _ALL:
            wanted.add(_ALL)
        elif _PREFIX + bare in CAPABILITIES:
            wanted.add(_PREFIX + bare)
        else:
            hint = nearest(_PREFIX + bare, CAPABILITIES)
            raise illegal(field, item, _LEGAL_CAPABILITY, hint)
    return tuple(name for name in (_ALL, *CAPABILITIES) if name in wanted)


def security_options(field: str, value: Any) -> tuple[str, ...]:
    """Check security options by their names."""
    result = strings(field, value, _LEGAL_SECURITY)
    for item in result:
        name = re.split("[=:]", item)[0]
        if name not in _SECURITY_OPTIONS:
            raise illegal(field, item, _LEGAL_SECURITY, nearest(name, _SECURITY_OPTIONS))
    return result
