"""What is extracted is what the engine itself makes of the image: file by file, as exported."""

from __future__ import annotations

import os
import random
import re
import stat
import tarfile
import traceback
from pathlib import Path
from typing import Any, Callable

import pytest
from archives import Place, docker_archive, member, sha, tar, tree

from lisa_container.errors import ExtractDeniedError
from lisa_container.images import (
    ExtractedImage,
    LayeredImage,
    LayerEntry,
    extract_image,
    image_from_layers,
)
from lisa_container.platforms.sandbox import SandboxNode

pytest_plugins = ["archives"]

# What the engine puts into every container it creates.
OF_ENGINE = {".dockerenv", "dev", "etc", "proc", "sys"}
LAYERS = 20
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def exported(archive: Path) -> dict[str, Any]:
    """As `archives.tree`, of a tar of `docker export`, read by Python's own module."""
    found: dict[str, Any] = {}
    with tarfile.open(archive, errors="surrogateescape") as opened:
        for info in opened:
            if info.name.split("/")[0] in OF_ENGINE or info.name in (".", ""):
                continue
            name = os.fsencode(info.name.rstrip("/")).decode("utf-8", "backslashreplace")
            if info.islnk():
                first = os.fsencode(info.linkname).decode("utf-8", "backslashreplace")
                found[first].setdefault("hard links", {first}).add(name)
                found[name] = found[first]
                continue
            item: dict[str, Any] = {
                "kind": KINDS[info.type],
                "mode": oct(info.mode & 0o7777),
                "owner": (info.uid, info.gid),
                "mtime": int(info.mtime) * 10**9,
                "xattrs": {
                    key[len("SCHILY.xattr.") :]: value.encode("utf-8", "surrogateescape")
                    for key, value in info.pax_headers.items()
                    if key.startswith("SCHILY.xattr.")
                },
            }
            if info.issym():
                item["link"] = os.fsencode(info.linkname)
            elif info.isreg():
                file = opened.extractfile(info)
                assert file is not None
                item["content"] = (info.size, sha(file.read()))
            elif info.ischr() or info.isblk():
                item["device"] = (info.devmajor, info.devminor)
            found[name] = item
    return found


def extracted(found: ExtractedImage) -> dict[str, Any]:
    shown = tree(found.rootfs)
    return {name: x for name, x in shown.items() if name.split("/")[0] not in OF_ENGINE}


class Maker:
    """Makes layers at random, each on top of those below, with every kind of entry."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.there: dict[str, LayerEntry] = {}
        self.count = 0

    def name(self) -> str:
        self.count += 1
        kinds = [
            "n",
            "ünï€ ",
            "new\nline",
            "x" * 120,
            "-",
            "a b'\"\\$`*?",
            os.fsdecode(b"\xff\xfe"),
        ]
        return f"{self.random.choice(kinds)}{self.count}"

    def dressed(self, entry: LayerEntry) -> LayerEntry:
        pick = self.random.choice
        xattrs = {"security.capability": CAPABILITY} if entry.content and pick([0, 0, 1]) else {}
        return LayerEntry(
            content=entry.content,
            mode=pick([0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o000, 0o6711]),
            uid=pick([0, 1, 1000, 70000, 2**31 - 2]),
            gid=pick([0, 5, 1000, 2_500_000]),
            mtime=pick([0, 1, 1_700_000_000, 2_200_000_000]),
            xattrs=xattrs,
            kind=entry.kind,
            target=entry.target,
            numbers=entry.numbers,
        )

    def entry(self) -> LayerEntry:
        make = self.random.choice(
            [
                lambda: LayerEntry(
                    self.random.randbytes(self.random.choice([1, 511, 512, 70_000]))
                ),
                lambda: LayerEntry(self.random.randbytes(5)),
                lambda: LayerEntry(b""),
                LayerEntry.folder,
                LayerEntry.folder,
                lambda: LayerEntry.symlink(
                    self.random.choice(["/etc", "..", "a/" * 60, "not there"])
                ),
                lambda: LayerEntry.device("c", 1, 3),
                lambda: LayerEntry.device("b", 259, 70_000),
                LayerEntry.fifo,
            ]
        )
        return self.dressed(make())

    def layer(self) -> dict[str, Any]:
        layer: dict[str, Any] = {}
        folders = [""] + [f"{path}/" for path, entry in self.there.items() if entry.is_folder]
        for _ in range(12):
            folder = self.random.choice(folders)
            path = folder + self.name()
            layer[path] = self.entry()
            if layer[path].is_folder:
                folders.append(f"{path}/")
            elif layer[path].kind.value == "file" and self.random.random() < 0.5:
                layer[folder + self.name()] = LayerEntry.hard_link(path)
        for path, entry in self.random.sample(sorted(self.there.items()), min(6, len(self.there))):
            if any(new == path or new.startswith(f"{path}/") for new in layer):
                if entry.is_folder and path not in layer and self.random.random() < 0.5:
                    layer[path] = self.dressed(LayerEntry.opaque())
                continue
            if any(path.startswith(f"{new}/") for new, x in layer.items() if not x.is_folder):
                continue
            # Hidden, replaced by another kind, or merely changed.
            kept = LayerEntry(b"was a link") if entry.kind.value == "hard link" else entry
            change = self.random.choice([LayerEntry.whiteout, self.entry, lambda x=kept: x])
            changed = change()
            layer[path] = self.dressed(changed) if changed.kind.value != "whiteout" else changed
        self.stack(layer)
        return layer

    def stack(self, layer: dict[str, Any]) -> None:
        for path, entry in layer.items():
            if not entry.is_folder or entry.kind.value == "opaque":
                self.there = {
                    old: x for old, x in self.there.items() if not old.startswith(f"{path}/")
                }
                self.there.pop(path, None)
        self.there.update({p: e for p, e in layer.items() if e.kind.value != "whiteout"})


def every_kind(seed: int) -> LayeredImage:
    maker = Maker(seed)
    return image_from_layers(
        [maker.layer() for _ in range(LAYERS)], cmd=["/n1"], labels={"seed": str(seed)}
    )


def export(machine: SandboxNode, image: str, tool: str = "docker") -> dict[str, Any]:
    """What the engine exports of the image."""
    container = machine.run(f"{tool} create {image} x").stdout.strip()
    try:
        machine.run(f"{tool} export -o /root/export.tar {container}")
    finally:
        machine.run(f"{tool} rm {container}")
    archive = root_of(machine) / "root/export.tar"
    found = exported(archive)
    archive.unlink()
    return found


def root_of(machine: SandboxNode) -> Path:
    return Path(f"/proc/{machine.pid}/root")


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(theirs)
    different = [
        f"{name}, {key}: {ours[name].get(key)} instead of {theirs[name].get(key)}"
        for name in ours
        for key in {*ours[name], *theirs[name]}
        if ours[name].get(key) != theirs[name].get(key)
    ]
    assert not different, "\n".join(different)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_as_docker_export(machine: SandboxNode, tmp_path: Path, seed: int) -> None:
    image = every_kind(seed)
    archive = image.save(tmp_path / "image.tar", name=f"tests/every:{seed}")
    found = extract_image(archive, tmp_path / "rootfs")
    ours = extracted(found)
    kinds = {item["kind"] for item in ours.values()}
    assert kinds == set(KINDS.values()), "every kind is there"
    assert any("hard links" in x for x in ours.values()) and any(x["xattrs"] for x in ours.values())

    loaded = root_of(machine) / "root/image.tar"
    loaded.write_bytes(archive.read_bytes())
    machine.run("docker load -i /root/image.tar")
    try:
        assert_same(ours, export(machine, f"tests/every:{seed}"))
        # What the engine itself saves is the same again, in the older of the two formats.
        machine.run(f"docker save -o /root/image.tar tests/every:{seed}")
        saved = extract_image(loaded, tmp_path / "saved")
        assert_same(extracted(saved), ours)
        assert (saved.id, saved.layers, saved.command) == (found.id, found.layers, ("/n1",))
    finally:
        loaded.unlink()
        machine.run(f"docker rmi tests/every:{seed}")


# --- what only root may ----------------------------------------------------------------------------


def test_owners_devices_xattrs(place: Place) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    text = capability.decode("utf-8", "surrogateescape")
    layer = [
        member("d", tarfile.DIRTYPE, uid=1, gid=2, pax_headers={"SCHILY.xattr.user.x": "é\0"}),
        member(
            "f",
            uid=2**31,
            gid=3,
            mode=0o4755,
            pax_headers={"SCHILY.xattr.security.capability": text},
        ),
        member(
            "l", tarfile.SYMTYPE, "f", uid=4, gid=5, pax_headers={"SCHILY.xattr.trusted.t": "v"}
        ),
        member("c", tarfile.CHRTYPE, uid=6, gid=7, mode=0o622, devmajor=4095, devminor=2**20 - 1),
        member("named", uname="daemon", uid=77),
    ]
    place.extract(docker_archive(tar(*layer)))
    found = tree(place.rootfs)
    assert {name: x["owner"] for name, x in found.items()} == {
        "d": (1, 2),
        "f": (2**31, 3),
        "l": (4, 5),
        "c": (6, 7),
        "named": (77, 0),
    }
    assert found["d"]["xattrs"] == {"user.x": "é\0".encode()}
    assert found["f"]["xattrs"] == {"security.capability": capability}
    assert found["l"]["xattrs"] == {"trusted.t": b"v"}
    assert found["f"]["mode"] == "0o4755"
    assert (found["c"]["device"], found["c"]["mode"]) == ((4095, 2**20 - 1), "0o622")


def as_nobody(work: Callable[[], str]) -> str:
    """What something gives in a process without rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writer, work().encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def test_without_rights(place: Place) -> None:
    for folder in [place.work, *list(place.work.parents)[:4]]:
        folder.chmod(0o777)
    layer = tar(
        member("d", tarfile.DIRTYPE, mode=0o000, uid=65534, gid=65534),
        member("d/f", uid=65534, gid=65534),
        member("f", uid=1, gid=65534),
        member("null", tarfile.CHRTYPE, uid=65534, gid=65534, devmajor=1, devminor=3),
    )
    place.archive.write_bytes(docker_archive(layer))
    place.archive.chmod(0o644)

    def denied() -> str:
        with pytest.raises(ExtractDeniedError) as caught:
            extract_image(place.archive, place.rootfs)
        assert isinstance(caught.value, PermissionError)
        return str(caught.value)

    said = as_nobody(denied)
    assert re.search(
        r"owner 1:65534 of 'f' cannot be set here .*: run as root, or .*skip_denied", said
    )
    place.assert_untouched()

    def skipped() -> str:
        return "\n".join(extract_image(place.archive, place.rootfs, skip_denied=True).skipped)

    said = as_nobody(skipped)
    assert said == "owner 1:65534 of 'f'\ndevice 1:3 of 'null'\nowner 0:0 of '/'"
    assert place.names() == ["d", "d/f", "f"]
    assert oct((place.rootfs / "d").stat().st_mode) == "0o40000"
