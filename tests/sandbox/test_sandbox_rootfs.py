"""The root file system is made once for all users, and kept only if it is complete."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lisa_container.errors import SandboxError, SandboxMachineError
from lisa_container.platforms.sandbox import SandboxConfig, rootfs, start_sandbox

# Makes a "root file system" that passes the check, and counts how often it was asked to.
FAKE = """#!/bin/sh
echo made >>"$COUNTER"
for last; do before=$folder; folder=$last; done
folder=$before
cat >/dev/null
sleep "${DELAY:-0}"
[ -z "$FAIL" ] || { echo "E: $FAIL" >&2; exit 7; }
mkdir -p "$folder/usr/sbin" "$folder/etc/ssh"
for name in sh umount useradd chpasswd ssh-keygen sshd sudo dockerd iptables; do
    touch "$folder/usr/sbin/$name"
done
echo "I: success" >&2
"""


class Made:
    """Stand-in for mmdebstrap, first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.counter = folder / "counter"
        self.config = SandboxConfig(cache_dir=str(folder / "cache"))

    @property
    def times(self) -> int:
        return len(self.counter.read_text().splitlines()) if self.counter.exists() else 0


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    found = Made(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COUNTER", str(found.counter))
    monkeypatch.setenv("FAIL", "")
    return found


def test_made_once(made: Made) -> None:
    said: list[str] = []
    folder = rootfs.provide(made.config, said.append)
    assert rootfs.provide(made.config, said.append) == folder
    assert made.times == 1
    assert "success" in said and any("once; this takes" in line for line in said)
    assert rootfs.is_ready(made.config)


def test_made_once_for_all_who_want_it_at_the_same_time(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELAY", "0.5")
    said: list[str] = []
    threads = [
        threading.Thread(target=rootfs.provide, args=(made.config, said.append)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.times == 1
    assert any("waiting for another process" in line for line in said)


@pytest.mark.parametrize(
    "other", [{"packages": ("git",)}, {"docker": "absent"}, {"mirror": "http://near.example.com"}]
)
def test_another_content_is_another_rootfs(made: Made, other: dict[str, object]) -> None:
    changed = SandboxConfig(cache_dir=made.config.cache_dir, **other)
    assert rootfs.provide(made.config, print) != rootfs.provide(changed, print)
    assert made.times == 2


def test_settings_that_do_not_change_the_content(made: Made) -> None:
    changed = SandboxConfig(cache_dir=made.config.cache_dir, count=3, docker="stopped", user="u")
    assert rootfs.provide(made.config, print) == rootfs.provide(changed, print)


def test_failure_has_its_reason_and_leaves_nothing(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "no such mirror")
    with pytest.raises(
        SandboxError, match=r"no such mirror(.|\n)*failed with 7(.|\n)*apt-get update"
    ):
        rootfs.provide(made.config, print)
    assert not rootfs.is_ready(made.config)
    left = [p.name for p in Path(made.config.cache_dir, "rootfs").iterdir()]
    assert all(name.endswith(".lock") for name in left)


def test_unfinished_work_of_a_killed_runner_is_not_taken(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELAY", "30")
    code = (
        "from lisa_container.platforms.sandbox import SandboxConfig, rootfs;"
        f"rootfs.provide(SandboxConfig(cache_dir={made.config.cache_dir!r}), print)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    _wait(lambda: made.times == 1, 60)  # it imports LISA first
    runner.kill()
    runner.wait()
    # Processes that it has started end with it.
    _wait(lambda: not _processes(str(made.counter.parent / "bin" / "mmdebstrap")))
    monkeypatch.setenv("DELAY", "0")
    unfinished = Path(made.config.cache_dir, "rootfs")
    folder = rootfs.provide(made.config, print)
    assert (folder / "usr/sbin/sshd").exists() and made.times == 2
    assert not list(unfinished.glob("*.unfinished"))


def test_tarball_is_unpacked_once(tmp_path: Path) -> None:
    source = tmp_path / "source" / "usr" / "bin"
    source.mkdir(parents=True)
    for name in ("sh", "umount", "useradd", "chpasswd", "ssh-keygen", "sshd", "sudo"):
        (source / name).write_text(name)
    (source / "sudo").chmod(0o4755)
    tarball = tmp_path / "rootfs.tar.gz"
    subprocess.run(["tar", "-C", tmp_path / "source", "-czf", tarball, "."], check=True)
    config = SandboxConfig(rootfs=str(tarball), docker=False, cache_dir=str(tmp_path / "cache"))
    assert not rootfs.is_ready(config)
    folder = rootfs.provide(config, print)
    assert stat.S_IMODE((folder / "usr/bin/sudo").stat().st_mode) == 0o4755
    inode = folder.stat().st_ino
    assert rootfs.provide(config, print).stat().st_ino == inode
    # A new tarball of the same name is another one.
    os.utime(tarball, (0, 0))
    assert rootfs.provide(config, print) != folder


def test_not_a_tarball(tmp_path: Path) -> None:
    file = tmp_path / "rootfs.tar"
    file.write_text("no")
    with pytest.raises(SandboxError, match=r"rootfs\.tar could not be unpacked: tar: "):
        rootfs.provide(SandboxConfig(rootfs=str(file), cache_dir=str(tmp_path / "c")), print)


def test_program_missing_in_a_rootfs_names_its_package(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").touch()
    with pytest.raises(SandboxMachineError) as caught:
        rootfs.provide(SandboxConfig(rootfs=str(tmp_path)), print)
    assert "no umount, useradd" in str(caught.value)
    assert "docker.io iptables mount openssh-client openssh-server passwd sudo" in str(caught.value)
    with pytest.raises(SandboxMachineError) as caught:
        rootfs.provide(SandboxConfig(rootfs=str(tmp_path), docker=False), print)
    assert "docker.io" not in str(caught.value)


def test_folder_is_used_as_it_is_and_not_written_to(tmp_path: Path) -> None:
    made = rootfs.provide(SandboxConfig(), print)
    with start_sandbox(1, rootfs=str(made), docker=False) as sandbox:
        sandbox.nodes[0].run("touch /new && rm /etc/hostname")
    assert not (made / "new").exists()
    assert not list((made / "etc/ssh").glob("ssh_host_*"))


def _wait(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _processes(word: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_text().split("\0")
        except OSError:
            continue
        if word in words:
            found.append(str(file))
    return found
