"""Seed of a VM: a small disk that tells cloud-init about the VM (its data source NoCloud)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lisa_container.microvm.identity import Identity

_LABEL = "cidata"
_JOLIET_LEVEL = 3


def write_seed(
    file: Path,
    identity: Identity,
    user: str,
    public_key: str,
    more: list[dict[str, Any]],
) -> None:
    """Write the seed of a VM.

    Args:
        file: file to create, for this user only.
        identity: identity of the VM.
        user: user to create, who gets sudo without a password.
        public_key: public key of the user.
        more: further user data, which is merged into ours.
    """
    # Imported here, since each run of LISA imports this module.
    import pycdlib

    data = yaml.safe_dump(user_data(identity, user, public_key, more))
    contents = {
        "user-data": f"#cloud-config\n{data}",
        "meta-data": yaml.safe_dump(
            {"instance-id": identity.machine_id, "local-hostname": identity.name}
        ),
    }
    if identity.nics:
        contents["network-config"] = yaml.safe_dump(network_config(identity))
    disk = pycdlib.PyCdlib()
    disk.new(joliet=_JOLIET_LEVEL, vol_ident=_LABEL)
    for number, (name, text) in enumerate(contents.items()):
        content = text.encode()
        disk.add_fp(io.BytesIO(content), len(content), f"/{number}.;1", joliet_path=f"/{name}")
    # The host key is in it.
    file.touch(mode=0o600)
    with file.open("r+b") as output:
        disk.write_fp(output)
    disk.close()


def user_data(
    identity: Identity, user: str, public_key: str, more: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the user data of a VM: LISA's own for its platform `qemu`, and the host key.

    Args:
        identity: identity of the VM.
        user: user to create.
        public_key: public key of the user.
        more: further user data.
    """
    data: dict[str, Any] = {
        "users": [
            "default",
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
                "groups": ["sudo", "docker"],
                "ssh_authorized_keys": [public_key],
            },
        ],
        "ssh_keys": {
            "ed25519_private": identity.host_key.private,
            "ed25519_public": identity.host_key.public,
        },
    }
    for each in more:
        _merge(data, each)
    return data


def network_config(identity: Identity) -> dict[str, Any]:
    """Return the network of a VM that has further interfaces, in cloud-init's version 2.

    Args:
        identity: identity of the VM.
    """
    first = {"match": {"macaddress": identity.mac}, "set-name": "eth0", "dhcp4": True}
    interfaces: dict[str, Any] = {"eth0": first}
    for number, (mac, address) in enumerate(identity.nics, start=1):
        name = f"eth{number}"
        # A boot need not wait for it.
        interfaces[name] = {"match": {"macaddress": mac}, "set-name": name, "optional": True}
        if address:
            interfaces[name]["addresses"] = [address]
    return {"version": 2, "ethernets": interfaces}


def _merge(data: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Merge user data as LISA does: append lists, update mappings, and replace the rest."""
    for key, value in more.items():
        old = data.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            old.update(value)
        elif isinstance(old, list) and isinstance(value, list):
            old.extend(value)
        else:
            data[key] = value
