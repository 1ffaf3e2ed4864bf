"""A runbook for LISA's platform `type: qemu`, run on microvms."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lisa import schema
from lisa.platform_ import load_platform
from lisa.util import constants

from lisa_container.errors import ConfigError
from lisa_container.microvm import DiskImageConfig, VmConfig
from lisa_container.platforms.microvm.configs import node_schema, vm_config
from tests.support.cloud_image import provide_cloud_image
from tests.support.runs import run_lisa

# As tools generate them, and as LISA's own runbooks for `qemu` are.
RUNBOOK = """\
name: qemu default
extension:
  - path: {suites}
    name: vm_test_suites
testcase:
  - criteria:
      name: verify_disk_image
notifier:
  - type: junit
platform:
  - type: qemu
    admin_private_key_file: {key}
    keep_environment: "no"
    qemu:
      network_boot_timeout: 300
    requirement:
      core_count: 2
      qemu:
{image}
        cloud_init:
          extra_user_data: user-data
"""
IMAGES = {
    "uefi": """\
        qcow2: {disk}""",
    "bios": """\
        disk_img: {disk}
        disk_img_format: qcow2
        disk_img_resize_gib: 2
        firmware_type: bios""",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("firmware", IMAGES)
def test_runbook_with_one_word_changed(firmware: str, tmp_path: Path) -> None:
    key = tmp_path / "id_rsa"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    data = {"write_files": [{"path": "/etc/by-user-data", "content": "yes\n"}]}
    (tmp_path / "user-data").write_text(yaml.safe_dump(data))
    text = RUNBOOK.format(
        suites=Path(__file__).parent / "suites",
        key=key,
        image=IMAGES[firmware].format(disk=provide_cloud_image()),
    )
    runbook = tmp_path / "runbook.yml"
    runbook.write_text(text.replace("type: qemu", "type: microvm"), encoding="utf-8")
    run = run_lisa(runbook, tmp_path, timeout=600)
    assert run.statuses() == {"verify_disk_image": "passed"}, run.output
    (console,) = tmp_path.rglob("node0-console.log")
    text = console.read_text()
    assert "Linux version" in text
    assert ("efi: EFI v" in text) == (firmware == "uefi")


def config_of(requirement: dict[str, Any], **platform: Any) -> VmConfig:
    """Return the config of a VM that a runbook asks for."""
    raw = {"type": "microvm", "requirement": requirement, **platform}
    loaded = load_platform([schema.load_by_type(schema.Platform, raw)])
    loaded.initialize()
    node = node_schema(schema.load_by_type(schema.NodeSpace, requirement))
    return vm_config(loaded.runbook, node, "node0", 2, 512)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the runbook's folder, in which there is a disk."""
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path, raising=False)
    (tmp_path / "disk.img").write_bytes(bytes(512))
    return tmp_path


@pytest.mark.parametrize("block", ["qemu", "microvm"])
def test_fields_of_qemu(block: str, folder: Path) -> None:
    node = {
        "disk_img": "disk.img",
        "disk_img_format": "raw",
        "disk_img_resize_gib": 20,
        "firmware_type": "bios",
        "machine_type": "q35",
        "ignition": False,
        "enable_secure_boot": False,
    }
    config = config_of({block: node}, **{block: {"network_boot_timeout": 200}})
    assert isinstance(config.image, DiskImageConfig)
    assert (config.image.disk, config.image.format) == (str(folder / "disk.img"), "raw")
    assert (config.image.size_gib, config.image.firmware) == (20, "bios")
    assert config.image.user == "lisatest"
    assert config.ready_seconds == 200


@pytest.mark.parametrize(
    ("node", "platform", "told"),
    [
        ({"ignition": True}, {}, "microvm, ignition: given True; images are set up by cloud-init"),
        ({"machine_type": "pc"}, {}, "machine_type: given 'pc'; the machine of all VMs is 'q35'"),
        ({"enable_secure_boot": True}, {}, "UEFI is without Secure Boot; leave it out"),
        ({"device_passthrough": [{"count": 1}]}, {}, "device_passthrough: given"),
        ({"qcow2": "nothing"}, {}, "vm image, disk: given 'nothing'; legal: path of a disk image"),
        ({"firmware_type": "uefi"}, {}, "firmware_type: the node has no disk image; add 'qcow2'"),
        ({"disk_img": "disk.img", "firmware_type": "x"}, {}, "firmware: given 'x'; legal: uefi or"),
        ({"disk_img": "disk.img", "kernel": "x"}, {}, "'kernel': ['Unknown field.']"),
        ({}, {"hosts": [{"lisa_working_dir": "/tmp"}]}, "for 'lisa_working_dir' use 'cache_dir'"),
        ({}, {"capture_libvirt_debug_logs": True}, "there is no libvirt; leave it out"),
        ({}, {"device_pools": [{}]}, "device_pools: given"),
        (
            {"disk_img": "disk.img"},
            {"packages": ["jq"]},
            "microvm, packages: the node's image is the disk 'disk.img'; leave",
        ),
    ],
)
def test_other_fields_are_refused(
    node: dict[str, Any], platform: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of({"qemu": node}, microvm=platform)
    assert told in str(caught.value)


def test_two_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="write only 'microvm'"):
        config_of({"qemu": {}, "microvm": {}})
