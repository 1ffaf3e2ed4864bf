"""The LISA platform `type: sandbox`, by `lisa -r` itself and by its class."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from lisa import schema
from lisa.platform_ import load_platform
from lisa.util import constants

import lisa_container
from lisa_container.errors import ConfigError, SandboxMachineError
from lisa_container.platforms.sandbox import lisa_platform, machine
from lisa_container.platforms.sandbox.lisa_platform import SandboxPlatform
from tests.support import programs
from tests.support.programs import LISA

EXTENSIONS = [
    {"path": str(Path(lisa_container.__file__).parent), "name": "lisa_container"},
    {"path": str(Path(__file__).parent / "suites"), "name": "sandbox_test_suites"},
]


def platform(**values: Any) -> SandboxPlatform:
    """Return the platform that a runbook with these values makes."""
    sandbox = values.pop("sandbox", None)
    raw = {"type": "sandbox", **values, **({"sandbox": sandbox} if sandbox else {})}
    loaded = load_platform([schema.load_by_type(schema.Platform, raw)])
    assert isinstance(loaded, SandboxPlatform)
    loaded.initialize()
    return loaded


def run(folder: Path, case: str, **parts: Any) -> tuple[str, dict[str, str], Path]:
    """Run cases of suites/nodes.py with LISA's own command.

    Returns:
        What it printed, the cases' statuses, and the folder of its logs.
    """
    runbook = {
        "name": "sandbox",
        "extension": EXTENSIONS,
        "notifier": [{"type": "junit"}],
        "testcase": [{"criteria": {"name": case, "area": "sandbox_nodes"}}],
        "platform": [{"type": "sandbox"}],
        **parts,
    }
    file = folder / "runbook.yml"
    file.write_text(yaml.safe_dump(runbook), encoding="utf-8")
    words = [*LISA, "-r", file, "-l", folder / "log", "-w", folder / "working"]
    done = programs.run(*words, timeout=180)
    output = done.stdout + done.stderr
    reports = list((folder / "log").rglob("*.junit.xml"))
    assert reports, output
    statuses = {}
    for found in ElementTree.parse(reports[0]).iter("testcase"):
        name = found.attrib["name"].split(" ")[0]
        kinds = [kind for kind in ("failure", "skipped") if found.find(kind) is not None]
        statuses[name.rpartition(".")[2]] = kinds[0] if kinds else "passed"
    return output, statuses, folder / "log"


def _processes_on(host: str) -> list[str]:
    """Return the processes on this machine's nodes of a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile, or have no files at all.
        with suppress(OSError):
            if (folder / "root/etc/hostname").read_text(encoding="ascii").strip() == host:
                found.append(folder.name)
    return found


def test_environments_as_the_cases_ask_for_them(tmp_path: Path) -> None:
    output, statuses, logs = run(tmp_path, "verify_one_node|verify_three_nodes|verify_data_disk")
    assert statuses == {
        "verify_one_node": "passed",
        "verify_three_nodes": "passed",
        "verify_data_disk": "skipped",
    }, output
    assert "a sandbox node cannot meet the requirement: ['data_disk_count" in output
    consoles = [path.read_text() for path in logs.rglob("node2-console.log")]
    assert consoles and "Starting OpenBSD Secure Shell server" in consoles[0]
    assert list(logs.rglob("node0-docker.log"))


def test_environment_of_the_runbook_and_a_user_who_needs_a_password(tmp_path: Path) -> None:
    environment = {"environments": [{"nodes": [{"type": "requirement", "node_count": 2}]}]}
    output, statuses, _ = run(
        tmp_path,
        "verify_login",
        environment=environment,
        platform=[{"type": "sandbox", "sandbox": {"login": "password_user", "docker": False}}],
    )
    assert statuses == {"verify_login": "passed"}, output


def test_kept_nodes_end_with_the_run(tmp_path: Path) -> None:
    output, statuses, _ = run(
        tmp_path,
        "verify_one_node",
        platform=[
            {"type": "sandbox", "keep_environment": "always", "sandbox": {"name": "kept"}},
        ],
    )
    assert statuses == {"verify_one_node": "passed"}, output
    assert "the run ends: stopping the nodes that keep_environment kept" in output
    assert not _processes_on("kept0")


@pytest.mark.parametrize(
    ("sandbox", "told"),
    [
        ({"docker": "maybe"}, "sandbox.docker: given 'maybe'; legal: true, false, running"),
        ({"login": "guest"}, "sandbox.login: given 'guest'; legal: user, password_user, root"),
        ({"password_user": "root"}, "sandbox.password_user: given 'root'; legal: neither"),
        ({"dokcer": True}, "'dokcer': ['Unknown field.']}; legal fields are rootfs, suite"),
        ({"packages": "git"}, "'packages': ['Not a valid list.']"),
        ({"docker_group": "perhaps"}, "'docker_group': ['Not a valid boolean.']"),
        ({"rootfs": "not/here"}, "legal: an existing folder or tarball"),
    ],
)
def test_wrong_value_stops_the_run_at_once(
    sandbox: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path, raising=False)
    with pytest.raises(ConfigError) as caught:
        platform(sandbox=sandbox)
    assert told in str(caught.value)


def test_machine_that_cannot_stops_the_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "preflight", lambda config: [machine.Problem("no this", "do")])
    with pytest.raises(SandboxMachineError, match="no this; do"):
        platform()


def test_values_reach_the_sandbox() -> None:
    values = {"docker": False, "packages": ["git"], "name": "host", "docker_group": True}
    config = platform(admin_username="admin", sandbox=values)._config(count=2)
    assert (config.count, config.user, config.name) == (2, "admin", "host")
    assert (config.docker_mode.value, config.packages) == ("stopped", ("git",))
    assert config.docker_group


def test_keep_environment_warns_that_the_node_ends_with_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    made = lisa_platform.SandboxPlatform(
        schema.load_by_type(schema.Platform, {"type": "sandbox", "keep_environment": "failed"})
    )
    monkeypatch.setattr(made._log, "warning", told.append)
    made.initialize()
    assert "keep_environment is 'failed', but sandbox nodes always end with this run" in str(
        told[0]
    )
