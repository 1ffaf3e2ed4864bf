"""Rules for the limits of a container: memory, CPUs, processes, rlimits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from lisa_container.config.checks import FrozenDict, illegal, named, nearest, number

# docker/go-units, RAMInBytes: sizes as of `docker run --memory`. All units are powers of 1024.
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_UNITS = ("", "k", "m", "g", "t", "p")
_BYTES = {unit: 1024**power for power, unit in enumerate(_UNITS)}

# Every number of the API is an int64.
_LARGEST = 2**63 - 1

# moby, daemon: "Minimum memory limit allowed is 6MB".
_LEAST_MEMORY = 6 * 1024**2
_LEGAL_SIZE = (
    "a size such as '512m' or '1.5g' (units b, k, m, g, t, p, each 1024 of the one before, also "
    "as KB or KiB) or a number of bytes, at least "
)
_LEGAL_MEMORY = f"{_LEGAL_SIZE}6m"

# A smaller limit would cut the output of common tools.
_LEAST_CAPTURE = 64 * 1024
_LEGAL_CAPTURE = f"{_LEGAL_SIZE}64k"

# moby, daemon: "Range of CPUs is from 0.01"; the upper end is the node's number of CPUs.
_LEAST_CPUS = 0.01
_NANO = 10**9
_LEGAL_CPUS = f"a number of CPUs, at least {_LEAST_CPUS}"

_LEGAL_PIDS = "a whole number of processes above 0, or -1 for no limit"

# docker/go-units, ulimit.go, which lacks "as".
_RLIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
    *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
_UNLIMITED = -1
_LEGAL_ULIMIT = "a whole number, or 'soft:hard' with soft not above hard; -1 is no limit"


class Ulimit(NamedTuple):
    """Limit of one resource in the kernel's own units; -1 is no limit."""

    name: str
    soft: int
    hard: int


def memory(field: str, value: Any) -> str:
    """Check a limit of memory; return its shortest form ('1g' for '1024m'). "" is no limit."""
    return "" if value == "" else _size(field, value, _LEAST_MEMORY, _LEGAL_MEMORY)


def capture_limit(field: str, value: Any) -> str:
    """Check the limit for recording a stream; return its shortest form."""
    return _size(field, value, _LEAST_CAPTURE, _LEGAL_CAPTURE)


def _size(field: str, value: Any, least: int, legal: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise illegal(field, value, legal)
    size = int(Decimal(match[1]) * _BYTES[match[2].lower()])
    if not least <= size <= _LARGEST:
        raise illegal(field, value, legal)
    unit = max((unit for unit in _UNITS if size % _BYTES[unit] == 0), key=_UNITS.index)
    return f"{size // _BYTES[unit]}{unit or 'b'}"


def size_bytes(size: str) -> int:
    """Return the bytes of a checked size; 0 (no limit in the API) for ""."""
    return int(size[:-1]) * _BYTES[size[-1].replace("b", "")] if size else 0


def cpus(field: str, value: Any) -> float | None:
    """Check a number of CPUs; None is no limit."""
    if value is None:
        return None
    result = number(field, value, _LEGAL_CPUS)
    if result < _LEAST_CPUS:
        raise illegal(field, value, _LEGAL_CPUS)
    return result


def nano_cpus(cpus: float | None) -> int:
    """Return CPUs in the API's unit; 0 (no limit in the API) for None."""
    return round(cpus * _NANO) if cpus else 0


def _whole(field: str, value: Any, legal: str) -> int:
    number = value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or number > _LARGEST:
        raise illegal(field, value, legal)
    return number


def pids_limit(field: str, value: Any) -> int | None:
    """Check a number of processes; None is the engine's default."""
    if value is None:
        return None
    result = _whole(field, value, _LEGAL_PIDS)
    if result != _UNLIMITED and result <= 0:
        raise illegal(field, value, _LEGAL_PIDS)
    return result


def ulimits(field: str, value: Any) -> FrozenDict[str]:
    """Check rlimits; return name to 'soft:hard', where one number stands for both."""
    result: dict[str, str] = {}
    for name, item in named(field, value, "rlimit names to numbers").items():
        if name not in _RLIMITS:
            raise illegal(f"{field}, key", name, ", ".join(_RLIMITS), nearest(name, _RLIMITS))
        where = f"{field}, of {name!r}"
        parts = item.split(":") if isinstance(item, str) else [item]
        limits = [_whole(where, part, _LEGAL_ULIMIT) for part in parts]
        soft, hard = limits[0], limits[-1]
        above = hard != _UNLIMITED and (soft == _UNLIMITED or soft > hard)
        if len(limits) > 2 or min(limits) < _UNLIMITED or above:
            raise illegal(where, item, _LEGAL_ULIMIT)
        result[name] = f"{soft}:{hard}"
    return FrozenDict(result, field)


def parsed_ulimits(ulimits: Mapping[str, Any]) -> tuple[Ulimit, ...]:
    """Return checked rlimits as objects."""
    return tuple(
        Ulimit(name, *(int(part) for part in item.split(":"))) for name, item in ulimits.items()
    )
