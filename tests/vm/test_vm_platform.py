"""The LISA platform `type: microvm`, by `lisa -r` itself and by its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lisa import schema
from lisa.features import StartStop
from lisa.platform_ import load_platform
from lisa.util import constants

from lisa_container.errors import ConfigError
from lisa_container.microvm import Share
from lisa_container.platforms.microvm.configs import node_schema, vm_config
from lisa_container.platforms.microvm.lisa_platform import MicroVmPlatform
from tests.support.runs import ROOT, run_lisa


def platform(**values: Any) -> MicroVmPlatform:
    """Return the platform that a runbook with these values makes."""
    microvm = values.pop("microvm", None)
    raw = {"type": "microvm", **values, **({"microvm": microvm} if microvm else {})}
    loaded = load_platform([schema.load_by_type(schema.Platform, raw)])
    assert isinstance(loaded, MicroVmPlatform)
    loaded.initialize()
    return loaded


@pytest.mark.usefixtures("image")
def test_runbook(tmp_path: Path) -> None:
    """The kernel suite passes in a container on a VM, and a module is really loaded."""
    run = run_lisa(ROOT / "runbooks" / "microvm.yml", tmp_path)
    assert run.statuses() == {"verify_module": "passed", "verify_stress": "passed"}, run.output
    assert run.exit_code == 0
    assert list(tmp_path.rglob("node0-console.log"))


@pytest.mark.parametrize(
    ("microvm", "told"),
    [
        ({"cores": 0}, "vm, cores: given 0; legal: a whole number from 1 to 64"),
        ({"disk_gib": 0}, "vm image, disk_gib: given 0; legal"),
        ({"kernel": "not/here"}, "legal: path of a bzImage"),
        ({"memory": 512}, "'memory': ['Unknown field.']}; legal fields are cores, memory_mib"),
    ],
)
def test_wrong_value_stops_the_run_at_once(
    microvm: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path, raising=False)
    with pytest.raises(ConfigError) as caught:
        platform(microvm=microvm)
    assert told in str(caught.value)


def test_values_reach_the_vm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path, raising=False)
    (tmp_path / "shared").mkdir()
    values: dict[str, Any] = {
        "packages": ["git"],
        "name": "host",
        "docker": False,
        "options": "quiet",
    }
    values["shares"] = [{"source": "shared", "target": "/srv"}]
    runbook = platform(admin_username="admin", microvm=values).runbook
    config = vm_config(runbook, node_schema(schema.NodeSpace()), "host1", 3, 700)
    assert (config.name, config.cores, config.memory_mib) == ("host1", 3, 700)
    assert (config.image.user, config.image.packages) == ("admin", ("git",))
    assert not config.image.docker
    assert config.options == "quiet"
    assert config.shares == (Share(str(tmp_path / "shared"), "/srv"),)
    assert StartStop.name() in {x.name() for x in MicroVmPlatform.supported_features()}
