"""Images of VMs that are given disks or root file systems: configs, seeds, keys, firmware."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import yaml

from lisa_container.errors import ConfigError, VmImageError, VmMachineError
from lisa_container.microvm import (
    DiskImageConfig,
    ImageConfig,
    Nic,
    PrivateNetwork,
    RootImageConfig,
    VmConfig,
    image_config,
)
from lisa_container.microvm.identity import Identity
from lisa_container.microvm.image.disk import DiskImage
from lisa_container.microvm.image.seed import user_data, write_seed
from lisa_container.microvm.keys import KeyPair, public_key_of
from lisa_container.microvm.machine import firmware


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), "2G"], check=True)
    return file


def image(disk: Path, **values: Any) -> DiskImage:
    return DiskImage.open(DiskImageConfig(str(disk), cache_dir=str(disk.parent), **values))


def test_format_and_size(disk: Path) -> None:
    found = image(disk)
    assert (found.disk_format, found.disk_bytes) == ("qcow2", 2 << 30)
    assert image(disk, size_gib=5).disk_bytes == 5 << 30
    with pytest.raises(VmImageError, match=r"has 2.0 GiB and cannot be made smaller; .*than 1 GiB"):
        image(disk, size_gib=1)
    assert image(disk, format="raw").disk_bytes < 2 << 30
    disk.write_bytes(bytes(1 << 20))
    assert image(disk).disk_format == "raw"
    with pytest.raises(VmImageError, match="is no disk in the format qcow2"):
        image(disk, format="qcow2")
    other = disk.with_name("disk.vmdk")
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(other), "1M"], check=True)
    with pytest.raises(VmImageError, match="has the format 'vmdk'; convert it: `qemu-img convert"):
        image(other)


def test_key_is_made_once(disk: Path) -> None:
    first, second = image(disk).private_key, image(disk).private_key
    assert first == second
    assert first.stat().st_mode & 0o777 == 0o600
    own = disk.with_name("own")
    own.write_text(KeyPair.make().private)
    assert image(disk, private_key=str(own)).private_key == own


@pytest.mark.parametrize(
    "words", [["-t", "ed25519"], ["-t", "rsa", "-m", "PEM"], ["-t", "ecdsa", "-m", "PKCS8"]]
)
def test_public_key_of_a_private_one(tmp_path: Path, words: list[str]) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", *words, "-f", str(key)], check=True)
    expected = key.with_suffix(".pub").read_text().split()[:2]
    assert public_key_of(key).split() == expected
    if words[1] == "ed25519":
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], check=True)
        with pytest.raises(ConfigError, match="without a password"):
            public_key_of(key)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        public_key_of(tmp_path / "other")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"disk": "/nowhere"}, "path of a disk image"),
        ({"format": "vhd"}, "qcow2 or raw, or empty"),
        ({"firmware": "efi"}, "uefi or bios"),
        ({"user": "root"}, "other than root"),
        ({"size_gib": -1}, "from 0 to"),
        ({"user_data": ["/nowhere"]}, "user_data: given '/nowhere'"),
        ({"user_data": "/nowhere"}, "paths of YAML files"),
        ({"user_data": ["list"]}, "files with a mapping in YAML"),
        ({"user_data": ["broken"]}, "'broken' is no YAML"),
        ({"private_key": "list"}, "no private key"),
        ({"packages": ["jq"]}, "image, unknown field: given 'packages'"),
    ],
)
def test_illegal_disk(
    values: dict[str, Any], words: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(disk.parent)
    Path("list").write_text("- a\n")
    Path("broken").write_text("a: [\n")
    with pytest.raises(ConfigError, match=words):
        image_config({"disk": str(disk), **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"root": ""}, "one of root and archive"),
        ({"root": "/", "archive": "/etc/passwd"}, "one of root and archive"),
        ({"root": "/nowhere"}, "a folder"),
        ({"archive": "/nowhere"}, "a file of `docker save`"),
        ({"root": "/", "suite": "sid"}, "unknown field: given 'suite'"),
        ({"root": "/", "modules": "/nowhere"}, "empty, if `kernel` is"),
    ],
)
def test_illegal_root(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        image_config(values)


def test_kind_of_an_image(disk: Path) -> None:
    assert isinstance(image_config({"docker": False}), ImageConfig)
    assert isinstance(image_config({"root": "/"}), RootImageConfig)
    assert isinstance(image_config({"disk": str(disk)}), DiskImageConfig)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data_disks_gib": [0]}, "from 1 to"),
        ({"data_disks_gib": [1] * 13}, "data_disks_gib: given 13; legal: at most 12"),
        ({"shares": [{"source": "/"}]}, "shares: given {'source': '/'}; legal: source and target"),
        (
            {"shares": [{"source": "/", "to": "/x"}]},
            "vm, shares, unknown field: given 'to'; legal: source, target",
        ),
        ({"shares": [{"source": "/no", "target": "/x"}]}, "a folder on this machine"),
        (
            {"shares": [{"source": "/", "target": "x"}]},
            "target: given 'x'; legal: an absolute path",
        ),
        ({"shares": [{"source": "/", "target": "/x"}] * 6}, "shares: given 6; legal: at most 5"),
        ({"nics": [Nic(PrivateNetwork())] * 8}, "nics: given 8; legal: at most 7"),
    ],
)
def test_illegal_hardware(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        VmConfig(**values)


def test_seed_is_one_for_cloud_init(tmp_path: Path) -> None:
    identity = Identity("one", nics=(("52:54:00:00:00:01", "10.91.0.1/24"),))
    seed = tmp_path / "seed"
    more = [{"write_files": [{"path": "/a"}]}, {"write_files": [{"path": "/b"}], "users": ["x"]}]
    write_seed(seed, identity, "admin", "ssh-ed25519 AAAA", more)
    assert seed.stat().st_mode & 0o777 == 0o600
    label = subprocess.run(["blkid", "-o", "value", "-s", "LABEL", str(seed)], capture_output=True)
    assert label.stdout.decode().strip() == "cidata"
    disk = pycdlib.PyCdlib()
    disk.open(str(seed))
    contents = {}
    for name in ("user-data", "meta-data", "network-config"):
        content = io.BytesIO()
        disk.get_file_from_iso_fp(content, joliet_path=f"/{name}")
        contents[name] = content.getvalue().decode()
    disk.close()
    assert contents["user-data"].startswith("#cloud-config\n")
    data = yaml.safe_load(contents["user-data"])
    assert data["write_files"] == [{"path": "/a"}, {"path": "/b"}]
    default, user, other = data["users"]
    assert (default, user["name"], other) == ("default", "admin", "x")
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA"]
    assert data["ssh_keys"]["ed25519_public"] == identity.host_key.public
    assert yaml.safe_load(contents["meta-data"])["local-hostname"] == "one"
    interfaces = yaml.safe_load(contents["network-config"])["ethernets"]
    assert interfaces["eth1"]["addresses"] == ["10.91.0.1/24"]
    assert interfaces["eth1"]["match"] == {"macaddress": "52:54:00:00:00:01"}
    assert interfaces["eth0"]["dhcp4"]


def test_user_data_is_merged_as_lisa_does() -> None:
    more = [{"disk_setup": {"a": 1}}, {"disk_setup": {"b": 2}, "users": "none", "x": 1}, {"x": 2}]
    data = user_data(Identity("one"), "admin", "key", more)
    assert data["disk_setup"] == {"a": 1, "b": 2}
    assert (data["users"], data["x"]) == ("none", 2)


def description(folder: Path, **changes: Any) -> dict[str, Any]:
    code, variables = folder / "code", folder / "variables"
    for file in (code, variables):
        file.touch()
    return {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": ["amd-sev"],
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"interface-types": ["bios"]},
        {"features": ["secure-boot", "requires-smm"]},
        {"targets": [{"architecture": "aarch64", "machines": ["pc-q35-*"]}]},
        {"targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*"]}]},
        {"mapping": {"device": "memory", "filename": "x"}},
        {"mapping": None},
    ],
)
def test_firmware_is_found(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "_FOLDERS", (tmp_path / "missing", tmp_path))
    (tmp_path / "10-other.json").write_text(json.dumps(description(tmp_path, **changes)))
    (tmp_path / "20-broken.json").write_text("{")
    with pytest.raises(VmMachineError, match="apt-get install .*ovmf.*firmware_type' to 'bios'"):
        firmware.find_uefi()
    (tmp_path / "30-good.json").write_text(json.dumps(description(tmp_path)))
    assert firmware.find_uefi().code == tmp_path / "code"
    (tmp_path / "code").unlink()
    with pytest.raises(VmMachineError):
        firmware.find_uefi()


def test_script_of_an_identity_with_interfaces() -> None:
    nics = (("52:54:00:00:00:01", "10.0.0.1/24"), ("52:54:00:00:00:02", ""))
    script = Identity("one", nics=nics).script()
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "busybox ip link set eth2 address 52:54:00:00:00:02\n" in script
    assert "busybox ip addr add 10.0.0.1/24 dev eth1\n" in script
    assert "dev eth2" not in script
    assert "eth1" not in Identity("one").script()
