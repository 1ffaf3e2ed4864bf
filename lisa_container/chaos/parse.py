"""Faults of a runbook: mappings in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lisa_container.chaos.cpu import CpuStress
from lisa_container.chaos.disk import DiskFull
from lisa_container.chaos.fault import Fault
from lisa_container.chaos.kill import Kill
from lisa_container.chaos.memory import MemoryPressure
from lisa_container.chaos.network import NetworkFault
from lisa_container.chaos.partition import Partition
from lisa_container.chaos.pause import Pause
from lisa_container.chaos.remove import Remove
from lisa_container.chaos.restart import Restart
from lisa_container.chaos.stop import Stop
from lisa_container.config.checks import check_names, illegal, unknown

_FAULTS = (
    *(Kill, Stop, Pause, Restart, Remove, Partition, NetworkFault),
    *(CpuStress, MemoryPressure, DiskFull),
)
_KINDS: dict[str, type[Fault]] = {fault.kind: fault for fault in _FAULTS}
_KIND = "kind"


def parse_faults(field: str, value: Any) -> tuple[Fault, ...]:
    """Return the faults of a list of mappings.

    Args:
        field: Name of the field, for errors.
        value: Value of the field: mappings of `kind` and the fault's arguments.

    Raises:
        ConfigError: A fault is wrong.
    """
    if not isinstance(value, (list, tuple)):
        raise illegal(field, value, "a list of faults, each such as {kind: network, delay: 0.1}")
    return tuple(_parse(field, each) for each in value)


def _parse(field: str, value: Any) -> Fault:
    if not isinstance(value, Mapping) or _KIND not in value:
        raise illegal(field, value, "a mapping such as {kind: network, delay: 0.1}")
    kind = _KINDS.get(str(value[_KIND]))
    if kind is None:
        raise unknown(f"{field}, kind", value[_KIND], list(_KINDS))
    names = [each.name for each in fields(kind)]
    check_names(value, [_KIND, *names], f"{field}, fault '{kind.kind}'")
    try:
        return kind(**{name: given for name, given in value.items() if name != _KIND})
    except TypeError as error:  # a comparison with a value of another type
        raise illegal(field, dict(value), f"values of the fault's types: {error}") from error
