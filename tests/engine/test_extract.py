"""An extracted root file system equals the engine's own export, file by file."""

from __future__ import annotations

import os
import random
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_container.errors import ExtractDeniedError
from lisa_container.images import (
    ExtractedImage,
    LayeredImage,
    LayerEntry,
    extract_image,
    image_from_layers,
)
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.archives import (
    Place,
    contained,
    docker_archive,
    extract_contained,
    member,
    sha,
    tar,
    tree,
)
from tests.support.engines import MORE_PACKAGES

pytest_plugins = ["tests.support.archives"]

# Files that the engine puts into every container.
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
    """Describe a tar of `docker export`, read by Python's own module, like `archives.tree`."""
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
    """Maker of random layers with every kind of entry, each based on those below."""

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

    def with_attributes(self, entry: LayerEntry) -> LayerEntry:
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
        return self.with_attributes(make())

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
                    layer[path] = self.with_attributes(LayerEntry.opaque())
                continue
            if any(path.startswith(f"{new}/") for new, x in layer.items() if not x.is_folder):
                continue
            # Hidden, replaced by another kind, or merely changed.
            kept = LayerEntry(b"was a link") if entry.kind.value == "hard link" else entry
            change = self.random.choice([LayerEntry.whiteout, self.entry, lambda x=kept: x])
            changed = change()
            layer[path] = (
                self.with_attributes(changed) if changed.kind.value != "whiteout" else changed
            )
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
    """Return the engine's export of an image."""
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
    found = extract_contained(tmp_path, archive, tmp_path / "rootfs")
    ours = extracted(found)
    kinds = {item["kind"] for item in ours.values()}
    assert kinds == set(KINDS.values()), "every kind is there"
    assert any("hard links" in x for x in ours.values()) and any(x["xattrs"] for x in ours.values())

    loaded = root_of(machine) / "root/image.tar"
    loaded.write_bytes(archive.read_bytes())
    machine.run("docker load -i /root/image.tar")
    try:
        assert_same(ours, export(machine, f"tests/every:{seed}"))
        # The engine's own archive of it has equal files, in the older of the two formats.
        machine.run(f"docker save -o /root/image.tar tests/every:{seed}")
        shutil.copy(loaded, archive)
        saved = extract_contained(tmp_path, archive, tmp_path / "saved")
        assert_same(extracted(saved), ours)
        assert (saved.id, saved.layers, saved.command) == (found.id, found.layers, ("/n1",))
    finally:
        loaded.unlink()
        machine.run(f"docker rmi tests/every:{seed}")


# Changes in a container, of which the engine makes whiteouts.
CHANGES = """
set -e
mkdir -p /w/old/sub /w/gone/sub /w/kept; echo 1 >/w/old/sub/x; echo 2 >/w/gone/sub/x; echo 3 >/w/f
ln -s f /w/link; echo 4 >/w/kept/y; mkfifo /w/pipe; mknod /w/null c 1 3; chmod 4711 /w/f
ln /w/f /w/kept/hard; chown 7:8 /w/kept; chmod 1777 /w/kept; touch -d @1000000 /w/kept/y
"""
MORE_CHANGES = """
set -e
rm -r /w/gone /w/old /w/link; mkdir /w/old; echo new >/w/old/new; mkdir /w/link; echo 5 >/w/link/z
mv /w/kept /w/moved; rm /w/null; echo 6 >/w/null; mv /w/f /w/g; echo 7 >>/w/moved/y
"""


def commit(machine: SandboxNode, tool: str, base: str, script: str, name: str) -> None:
    container = machine.run(
        f"{tool} create --cap-add MKNOD --net none {base} /bin/busybox sh -c '{script}'"
    ).stdout
    machine.run(f"{tool} start -a {container.strip()}")
    machine.run(f"{tool} commit {container.strip()} {name}")
    machine.run(f"{tool} rm {container.strip()}")


def committed(machine: SandboxNode, tool: str) -> list[str]:
    """Return images whose upper layers the engine has made itself, the topmost last."""
    busybox = root_of(machine) / "bin/busybox"
    links = {
        f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "mkdir", "ln", "rm", "mv")
    }
    links |= {
        f"bin/{n}": LayerEntry.symlink("busybox")
        for n in ("mkfifo", "mknod", "chmod", "chown", "touch")
    }
    image = image_from_layers([{"bin/busybox": busybox, **links}], env={"PATH": "/bin"})
    image.save(root_of(machine) / "root/image.tar", name="localhost/tests/base:1")
    machine.run(f"{tool} load -i /root/image.tar; rm /root/image.tar")
    commit(machine, tool, "localhost/tests/base:1", CHANGES, "localhost/tests/changed:1")
    commit(machine, tool, "localhost/tests/changed:1", MORE_CHANGES, "localhost/tests/changed:2")
    return [f"localhost/tests/{name}" for name in ("base:1", "changed:1", "changed:2")]


def test_made_by_docker(machine: SandboxNode, tmp_path: Path) -> None:
    """Layers made by the engine, with its whiteouts and opaque folders, are extracted."""
    names = committed(machine, "docker")
    try:
        machine.run(f"docker save -o /root/image.tar {names[-1]}")
        archive = root_of(machine) / "root/image.tar"
        assert b"/.wh..wh..opq" in archive.read_bytes(), "the engine has made one of them opaque"
        ours = tmp_path / "image.tar"
        shutil.copy(archive, ours)
        found = extract_contained(tmp_path, ours, tmp_path / "rootfs")
        assert_same(extracted(found), export(machine, names[-1]))
        assert len(found.layers) == 3
        archive.unlink()
        # Several images in one archive, with layers in common.
        machine.run(f"docker save -o /root/image.tar {' '.join(names)}")
        for name in names:
            shutil.copy(archive, ours)
            target = tmp_path / name.replace("/", "-")
            found = extract_contained(tmp_path, ours, target, image=name)
            assert_same(extracted(found), export(machine, name))
        archive.unlink()
    finally:
        machine.run(f"docker rmi {' '.join(reversed(names))}")


@pytest.fixture(scope="module")
def podman_machine() -> Iterator[SandboxNode]:
    with start_sandbox(1, packages=MORE_PACKAGES, docker=False) as sandbox:
        machine = sandbox.nodes[0]
        # podman's storage does not work on top of an overlay.
        machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
        machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
        yield machine


PODMAN_WAYS = {
    "docker-archive": "podman save --format docker-archive -o /root/image.tar {name}",
    "oci-archive": "podman save --format oci-archive -o /root/image.tar {name}",
    "gzip": "podman push --compression-format gzip {name} oci:/root/oci",
    "zstd": "podman push --compression-format zstd {name} oci:/root/oci",
}


def test_made_by_podman(podman_machine: SandboxNode, tmp_path: Path) -> None:
    """Real OCI layouts are extracted, with layers in gzip and zstd."""
    name = committed(podman_machine, "podman")[-1]
    theirs = export(podman_machine, name, "podman")
    root = root_of(podman_machine) / "root"
    for way, command in PODMAN_WAYS.items():
        podman_machine.run(command.format(name=name))
        archive = root / ("oci" if "oci:" in command else "image.tar")
        ours = tmp_path / f"{way} archive"
        (shutil.copytree if archive.is_dir() else shutil.copy)(archive, ours)
        found = extract_contained(tmp_path, ours, tmp_path / way)
        assert_same(extracted(found), theirs)
        if archive.is_dir():
            magic = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}[way]
            blobs = [path.read_bytes()[:4] for path in (archive / "blobs/sha256").iterdir()]
            assert sum(head.startswith(magic) for head in blobs) == 3, way
        podman_machine.run("rm -rf /root/oci /root/image.tar")


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
        member("l", tarfile.SYMTYPE, "f", uid=4, gid=5),
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
    assert found["f"]["mode"] == "0o4755"
    assert (found["c"]["device"], found["c"]["mode"]) == ((4095, 2**20 - 1), "0o622")


def test_without_rights(place: Place) -> None:
    for folder in (place.root, place.work):
        folder.chmod(0o777)
    layer = tar(
        member("d", tarfile.DIRTYPE, mode=0o000, uid=65534, gid=65534),
        member("d/f", uid=65534, gid=65534),
        member("f", uid=1, gid=65534),
        member("null", tarfile.CHRTYPE, uid=65534, gid=65534, devmajor=1, devminor=3),
    )
    place.archive.write_bytes(docker_archive(layer))
    place.archive.chmod(0o644)

    def extract(**options: Any) -> Any:
        archive, rootfs = place.inside(place.archive), place.inside(place.rootfs)
        return contained(
            place.root, lambda: extract_image(archive, rootfs, **options), has_rights=False
        )

    words = r"owner 1:65534 of 'f' cannot be set here .*: run as root, or .*skip_denied"
    with pytest.raises(ExtractDeniedError, match=words):
        extract()
    place.assert_untouched()
    skipped = ("owner 1:65534 of 'f'", "device 1:3 of 'null'", "owner 0:0 of '/'")
    assert extract(skip_denied=True).skipped == skipped
    assert place.names() == ["d", "d/f", "f"]
    assert oct((place.rootfs / "d").stat().st_mode) == "0o40000"
