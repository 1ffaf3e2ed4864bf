"""Wrong values fail before anything is made, with the field's name and the legal values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lisa_container.errors import ConfigError
from lisa_container.platforms.sandbox import DockerMode, SandboxConfig


@pytest.mark.parametrize(
    ("field", "value", "legal"),
    [
        ("count", 0, "a number from 1 to 64"),
        ("count", 65, "a number from 1 to 64"),
        ("rootfs", "/does/not/exist", "an existing folder or tarball"),
        ("rootfs", "/a,b", "a path without comma"),
        ("suite", "Bookworm; rm", "a release's code name"),
        ("mirror", "not a url", "the URL of a package mirror"),
        ("packages", ["-o", "good"], "names of Debian packages"),
        ("docker", "maybe", "true, false, running, stopped, absent"),
        ("user", "Root!", "a user name"),
        ("user", "asker", "neither root nor the same as user"),
        ("password_user", "root", "neither root nor the same as user"),
        ("name", "under_score", "the start of a host name"),
        ("cache_dir", "/a:b", "a path without comma"),
        ("ready_seconds", 0, "a time in seconds"),
    ],
)
def test_wrong_value(field: str, value: Any, legal: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SandboxConfig(**{field: value})
    named = "password_user" if value == "asker" else field
    assert f"sandbox.{named}: given " in str(caught.value)
    assert legal in str(caught.value)


def test_own_rootfs_excludes_making_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="empty beside suite, mirror or packages"):
        SandboxConfig(rootfs=str(tmp_path), packages=("git",))


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (True, DockerMode.RUNNING),
        (False, DockerMode.STOPPED),
        ("true", DockerMode.RUNNING),
        ("False", DockerMode.STOPPED),
        ("absent", DockerMode.ABSENT),
        (DockerMode.STOPPED, DockerMode.STOPPED),
    ],
)
def test_docker_modes(given: Any, mode: DockerMode) -> None:
    assert SandboxConfig(docker=given).docker_mode is mode
