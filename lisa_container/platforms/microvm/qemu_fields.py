"""Fields of LISA's platform `type: qemu`: a runbook for it needs only another `type`.

Fields that mean the same keep their names and places. The others are refused, and the message names
what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lisa_container.errors import ConfigError

QEMU = "qemu"
"""Type of LISA's platform, and name of its blocks."""


def _is_q35(value: Any) -> bool:
    return str(value) == "q35" or str(value).startswith("pc-q35-")


def _never(value: Any) -> bool:
    return False


_Refused = Mapping[str, tuple[Callable[[Any], bool], str]]

_OF_PLATFORM: _Refused = {
    "hosts": (
        _never,
        "the VMs run on this machine; leave it out, and for 'lisa_working_dir' use 'cache_dir'",
    ),
    "capture_libvirt_debug_logs": (
        _never,
        "there is no libvirt; leave it out: the console is in the file NAME-console.log",
    ),
    "device_pools": (_never, "a microvm gets no devices of this machine; leave it out"),
}
_OF_NODE: _Refused = {
    "ignition": (_never, "images are set up by cloud-init; use 'cloud_init'"),
    "enable_secure_boot": (_never, "UEFI is without Secure Boot; leave it out"),
    "machine_type": (_is_q35, "the machine of all VMs is 'q35'; leave it out"),
    "device_passthrough": (_never, "a microvm gets no devices of this machine; leave it out"),
}


def take_platform_fields(blocks: dict[str, Any], name: str) -> None:
    """Rename the platform's block `qemu`, and refuse its fields that a microvm does not have.

    Args:
        blocks: blocks of the platform by name; they are changed.
        name: name of the block of a microvm.

    Raises:
        ConfigError: a field is refused, or there are both blocks.
    """
    _take(blocks, name, _OF_PLATFORM)


def take_node_fields(blocks: dict[str, Any], name: str) -> None:
    """Rename a node requirement's block `qemu`, and refuse fields that a microvm does not have.

    Args:
        blocks: blocks of the requirement by name; they are changed.
        name: name of the block of a microvm.

    Raises:
        ConfigError: a field is refused, or there are both blocks.
    """
    _take(blocks, name, _OF_NODE)


def _take(blocks: dict[str, Any], name: str, refused: _Refused) -> None:
    if QEMU in blocks and name in blocks:
        raise ConfigError(f"the runbook has the blocks '{QEMU}' and '{name}'; write only '{name}'")
    if QEMU in blocks:
        blocks[name] = blocks.pop(QEMU)
    block = blocks.get(name)
    if not isinstance(block, dict):  # absent, or of a type that the schema refuses
        return
    for field, (is_legal, remedy) in refused.items():
        value = block.get(field)
        if value and not is_legal(value):
            raise ConfigError(f"{name}, {field}: given {value!r}; {remedy}")
        block.pop(field, None)
