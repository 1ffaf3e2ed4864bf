"""Special files and odd names are copied into and out of containers like by docker cp."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, CopyError, CopyNotFoundError
from tests.support.nodes import BUSYBOX

pytest_plugins = ["tests.support.boxes"]


@pytest.mark.parametrize("place", ["/root", "/memory"])
def test_odd_files_as_docker_cp_has_them(
    places: ContainerExecutor, tmp_path: Path, place: str
) -> None:
    """Pipes, dangling links, and hard links to both stay what they are."""
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source" / "pipe")
    (tmp_path / "source" / "link").symlink_to("none")
    for name in ("pipe", "link"):
        os.link(tmp_path / "source" / name, tmp_path / "source" / f"{name}2", follow_symlinks=False)
        places.copy_to(tmp_path / "source" / name, f"{place}/single-{name}")
    places.copy_to(tmp_path / "source", f"{place}/odd")
    found = places.run(
        f"cd {place}; [ -p single-pipe ] && [ -h single-link ] && [ -p odd/pipe ] && [ -p odd/pipe2 ]"
        " && for x in single-link odd/link odd/link2; do readlink $x; done"
    )
    assert (found.exit_code, found.stdout) == (0, "none\nnone\nnone")
    for name in ("odd", "single-pipe", "single-link"):
        places.copy_from(f"{place}/{name}", tmp_path / name)
        if name != "odd":  # over what the first copy left
            places.copy_from(f"{place}/{name}", tmp_path / name)
    assert (tmp_path / "single-pipe").is_fifo()
    assert (tmp_path / "single-link").readlink() == Path("none")
    assert (tmp_path / "odd" / "pipe2").is_fifo()
    assert (tmp_path / "odd" / "link2").readlink() == Path("none")
    places.run(f"rm -r {place}/odd {place}/single-*")


def test_devices(places: ContainerExecutor, tmp_path: Path, logged: Callable[[], str]) -> None:
    """Devices are copied into a container, and never out of it."""
    os.mknod(tmp_path / "null", 0o20644, os.makedev(1, 3))
    places.copy_to(tmp_path / "null", "/dir/null")
    assert places.run("[ -c /dir/null ] && stat -c %t:%T /dir/null").stdout == "1:3"
    with pytest.raises(CopyError, match="a device"):
        places.copy_from("/dir/null", tmp_path / "back")
    places.copy_from("/dir", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []
    assert "1 devices were left out, such as 'null'" in logged()
    places.run("rm -r /dir")


@pytest.mark.parametrize("place", ["/root", "/memory", "/data"])
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\n'\"$x\\ \n"])
def test_names_that_are_not_utf8(
    places: ContainerExecutor, tmp_path: Path, place: str, name: bytes
) -> None:
    """Names that are not UTF-8 are copied although the engine takes no such argument."""
    (tmp_path / "source").mkdir()
    file = tmp_path / "source" / os.fsdecode(name)
    file.write_text("x")
    os.link(file, tmp_path / "source" / "hard")  # comes first in the archive of the folder
    path = f"{place}/in/{file.name}"
    places.copy_to(tmp_path / "source", f"{place}/in")
    places.copy_from(path, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "x"
    file.write_text("y")
    places.copy_to(file, f"{place}/{file.name}/deep/{file.name}")
    places.copy_from(f"{place}/{file.name}", tmp_path / "folder")
    places.copy_from(f"{place}/{file.name}/deep/{file.name}", tmp_path)
    assert (tmp_path / "folder" / "deep" / file.name).read_text() == "y"
    assert (tmp_path / file.name).read_text() == "y"
    with pytest.raises(CopyNotFoundError):
        places.copy_from(f"{path}.none", tmp_path / "none")
    places.run(f"rm -r {place}/*")


def test_long_copy_is_logged(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    """The log tells of a copy that takes long, each way, and not of a short one."""
    (tmp_path / "small").write_bytes(b"x")
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX, tmpfs={"/m": ""})) as container:
        container.copy_to(tmp_path / "small", "/small")
        assert "copying" not in logged()
        monkeypatch.setattr("lisa_container.container.copy._LONG", 0.01)
        with (tmp_path / "large").open("wb") as file:
            file.truncate(64 << 20)
        for path in ("/large", "/m/large"):
            container.copy_to(tmp_path / "large", path)
            container.copy_from(path, tmp_path / "back")
            assert (tmp_path / "back").stat().st_size == 64 << 20
            assert f"copying '{path}' out of '{container.name}': done in" in logged()
        large = tmp_path / "large"
        assert logged().count(f"copying '{large}' into '{container.name}': done in") == 2
