"""Archives of images: content, limits, and refused input.

tests/engine/test_extract.py compares the result with an engine's.
"""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any, Callable

import pytest
from docker.auth import INDEX_NAME

from lisa_container import ConfigError
from lisa_container.errors import (
    ArchiveLimitError,
    ImageArchiveError,
    UnsafeArchiveError,
)
from lisa_container.images import LayerEntry, extract_image, image_from_layers
from tests.support.archives import (
    IS_ROOT,
    NOBODY,
    Layout,
    Place,
    config_of,
    contained,
    docker_archive,
    gz,
    member,
    sha,
    tar,
    tree,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytest_plugins = ["tests.support.archives"]

DIR, SYM, LNK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
FIFO = tarfile.FIFOTYPE


# --- formats ------------------------------------------------------------------------------------


def packed_ways() -> dict[str, Callable[[bytes], bytes]]:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    return {
        "plain": lambda data: data,
        "gzip": gz,
        "gzip in members": lambda data: gz(data[:700]) + gz(b"") + gz(data[700:]) + bytes(600),
        "zstd": zstd.compress,
        "zstd in frames": lambda data: (
            skippable
            + zstd.compress(data[:700])
            + skippable
            + zstd.compress(data[700:])
            + skippable
        ),
    }


@pytest.mark.parametrize("outer", packed_ways())
@pytest.mark.parametrize("inner", packed_ways())
def test_compression(place: Place, inner: str, outer: str) -> None:
    layout, layer = Layout(), tar(member("a", data=os.urandom(300_000)), "b")
    archive = layout.archive(layout.image((layer, packed_ways()[inner](layer))))
    found = place.extract(packed_ways()[outer](archive))
    assert (place.rootfs / "a").stat().st_size == 300_000
    assert place.names() == ["a", "b"]
    assert (found.layers, found.entries, found.bytes) == ((f"sha256:{sha(layer)}",), 2, len(layer))


def test_docker_archive(place: Place) -> None:
    settings = {
        "Entrypoint": ["/entry"],
        "Cmd": ["a", "b c"],
        "Env": ["PATH=/bin", "X=1=2", "EMPTY"],
        "WorkingDir": "/srv",
        "User": "1000:5",
        "Labels": {"l": "v"},
    }
    layers = [tar("a"), tar("b")]
    found = place.extract(docker_archive(*layers, settings=settings, tags=["x:1", "y:2"]))
    assert place.names() == ["a", "b"]
    assert found.names == ("x:1", "y:2")
    assert found.digest == found.id and found.id.startswith("sha256:")
    assert found.platform == "linux/amd64"
    assert found.layers == tuple(f"sha256:{sha(layer)}" for layer in layers)
    assert found.command == ("/entry", "a", "b c")
    assert found.environment == {"PATH": "/bin", "X": "1=2", "EMPTY": ""}
    assert (found.working_dir, found.user, found.labels) == ("/srv", "1000:5", {"l": "v"})
    assert found.rootfs == place.rootfs
    assert found.config["config"] == settings
    assert stat.S_IMODE(place.rootfs.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "combined"),
    [
        (None, None, ()),
        (None, ["sh"], ("sh",)),
        (["e"], None, ("e",)),
        (["e", "1"], ["c"], ("e", "1", "c")),
        ([""], ["c"], ("c",)),
        ("e", "c", ("e", "c")),
        (["/bin/sh", "-c", "x y"], ["c"], ("/bin/sh", "-c", "x y", "c")),
    ],
)
def test_command(place: Place, entrypoint: Any, cmd: Any, combined: Any) -> None:
    """Entrypoint and cmd are combined as in `docker run`."""
    settings = {"Entrypoint": entrypoint, "Cmd": cmd}
    found = place.extract(docker_archive(tar("a"), settings=settings))
    assert found.command == found.command_for() == combined
    assert found.command_for(["x"]) == (*found.entrypoint, "x")
    assert found.command_for(entrypoint="n") == ("n",), "the image's own cmd is not for another"
    assert found.command_for(["x"], entrypoint="n") == ("n", "x")
    assert found.command_for(["x"], entrypoint="") == ("x",)


def test_docker_archive_with_links(place: Place) -> None:
    """Docker before 25 saves a repeated layer as a symbolic link."""
    layer = tar("a")
    with tarfile.open(fileobj=io.BytesIO(docker_archive(layer))) as archive:
        config = archive.getmembers()[0]
        data = archive.extractfile(config).read()  # type: ignore[union-attr]
    listed = [{"Config": config.name, "Layers": ["x/layer.tar"]}]
    for link in (
        member("x/layer.tar", SYM, "../y/layer.tar"),
        member("x/layer.tar", LNK, "y/layer.tar"),
    ):
        members = [
            member(f"./{config.name}", data=data),
            link,
            member("y/layer.tar", data=layer),
            member("manifest.json", data=json.dumps(listed).encode()),
        ]
        place.extract(tar(*members))
        (place.rootfs / "a").unlink()
    members[1] = member("x/layer.tar", SYM, "../../outside/file")
    (place.rootfs).rmdir()
    place.refuses(tar(*members), "'../../outside/file' in it leads outside", UnsafeArchiveError)
    members[1] = member("x/layer.tar", SYM, "layer.tar")
    place.refuses(tar(*members), "layer 'x/layer.tar' is missing in it")


def test_layout_in_a_folder(place: Place) -> None:
    layout = Layout()
    layout.write(place.root / "layout", layout.image(tar("a")))
    place.extract_from(place.root / "layout")
    assert place.names() == ["a"]
    blob = place.root / "layout/blobs/sha256" / sha(tar("a"))
    blob.unlink()
    blob.symlink_to(place.outside / "file")
    with pytest.raises(ImageArchiveError):
        place.extract_from(place.root / "layout", place.work / "other")


def test_blobs_that_are_links(place: Place) -> None:
    """Links to blobs are followed inside the layout only."""
    layout = Layout()
    layout.write(place.root / "layout", layout.image(tar("a")))
    folder = place.root / "layout" / "blobs"
    for blob in (folder / "sha256").iterdir():
        blob.rename(folder / f"b-{blob.name}")
        blob.symlink_to(f"../b-{blob.name}")
    (folder / "sha256").rename(folder / "other")
    (folder / "sha256").symlink_to("other")
    place.extract_from(place.root / "layout")
    assert place.names() == ["a"]
    for target in ("/etc/passwd", "../../../outside/file", "sha256", "../blobs/sha256"):
        (folder / "sha256").unlink()
        (folder / "sha256").symlink_to(target)
        with pytest.raises(ImageArchiveError):
            place.extract_from(place.root / "layout", place.work / "other")


COSIGN = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.mark.parametrize("kind", ["signature", "artifact", "artifact type", "missing"])
def test_artifact_beside_the_image(place: Place, kind: str) -> None:
    layout = Layout()
    image = layout.image(tar("a"))
    del image["platform"]
    config = layout.blob(config_of([tar("x")]), "application/vnd.oci.image.config.v1+json")
    layer = layout.blob(b"{}", COSIGN)
    if kind == "artifact":
        config = layout.blob(b"{}", EMPTY)
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    more = {"artifactType": "application/x"} if kind == "artifact type" else {}
    beside = layout.json(manifest, "application/vnd.oci.image.manifest.v1+json", **more)
    if kind == "missing":
        del layout.files[f"blobs/sha256/{beside['digest'][7:]}"]
        place.refuses(layout.archive(beside, image), "is missing in it")
        return
    place.extract(layout.archive(beside, image))
    assert place.names() == ["a"]


ARM = {"architecture": "arm64", "os": "linux", "variant": "v8"}


def test_platforms(place: Place) -> None:
    layout = Layout()
    about = layout.image(tar("about"), platform={"architecture": "unknown", "os": "unknown"})
    inner = layout.index(layout.image(tar("amd")), layout.image(tar("arm"), platform=ARM), about)
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    described = layout.json(inner, kind, annotations={"org.opencontainers.image.ref.name": "x:1"})
    archive = layout.archive(described)
    for platform, name in (
        ("linux/amd64", "amd"),
        ("linux/arm64", "arm"),
        ("linux/arm64/v8", "arm"),
    ):
        found = place.extract(archive, platform=platform)
        assert (place.names(), found.names) == ([name], ("x:1",))
        (place.rootfs / name).unlink()
    place.rootfs.rmdir()
    words = (
        "no image is for platform 'linux/s390x'; the archive has: 'linux/amd64', 'linux/arm64/v8'"
    )
    place.refuses(archive, words, platform="linux/s390x")
    with pytest.raises(ConfigError, match="legal: os/architecture"):
        place.extract(archive, platform="arm64")


def test_the_only_image_needs_no_platform(place: Place) -> None:
    layout = Layout()
    archive = layout.archive(layout.image(tar("a"), platform=ARM))
    assert place.extract(archive).platform == "linux/arm64/v8"


def test_platform_in_the_config_only(place: Place) -> None:
    layout = Layout()
    images = [layout.image(tar("amd")), layout.image(tar("arm"), platform=ARM)]
    for image in images:
        del image["platform"]
    place.extract(layout.archive(*images), platform="linux/arm64")
    assert place.names() == ["arm"]


@pytest.mark.parametrize("name", ["two", "two:latest", f"{INDEX_NAME}/library/two:latest"])
def test_names(place: Place, name: str) -> None:
    layout = Layout()
    images = [layout.image(tar(note), note=f"{note}:latest") for note in ("one", "two")]
    place.extract(layout.archive(*images), image=name)
    assert place.names() == ["two"]


def test_which_one(place: Place) -> None:
    layout = Layout()
    images = [layout.image(tar(note), note=note) for note in ("one", "two")]
    words = "more than one image; choose one with image=…: 'one', 'two'"
    place.refuses(layout.archive(*images), words)
    place.refuses(
        layout.archive(*images), "no image is called 'x'; the archive has: 'one', 'two'", image="x"
    )
    place.refuses(docker_archive(tar("a"), tags=["a:1"]), "the archive has: 'a:1'", image="b:1")


def test_made_by_ourselves(place: Place) -> None:
    image = image_from_layers(
        [{"bin/a": b"1"}, {"bin/a": LayerEntry.whiteout(), "b": b""}], cmd="x"
    )
    found = place.extract(b"".join(image.stream("team/tool:1")))
    assert place.names() == ["b", "bin"]
    assert (found.id, found.digest) == (image.id, image.digest)
    assert found.command == ("/bin/sh", "-c", "x")
    assert found.names[0] == f"{INDEX_NAME}/team/tool:1"


# --- layers -------------------------------------------------------------------------------------


def extracted(place: Place, *layers: Any, **options: Any) -> list[str]:
    place.extract(docker_archive(*(tar(*layer) for layer in layers)), **options)
    return place.names()


LOWER = [member("d", DIR), "d/a", "d/b", member("d/s", DIR), "d/s/x", "f"]


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        (["d/.wh.a"], ["d", "d/b", "d/s", "d/s/x", "f"]),
        ([".wh.d"], ["f"]),
        (["d/.wh.s", ".wh.f"], ["d", "d/a", "d/b"]),
        (["d/.wh..wh..opq"], ["d", "f"]),
        ([".wh..wh..opq"], []),
        # A whiteout never hides content of its own layer, wherever it stands.
        (["d/a", "d/.wh.a"], ["d", "d/a", "d/b", "d/s", "d/s/x", "f"]),
        (["d/new", "d/.wh..wh..opq", "d/more"], ["d", "d/more", "d/new", "f"]),
        (["d/s/y", ".wh.d", "d/s/z"], ["d", "d/s", "d/s/y", "d/s/z", "f"]),
        (["d/s/y", ".wh..wh..opq"], ["d", "d/s", "d/s/y"]),
        (
            [".wh.none", "none/.wh.x", "f/.wh.x", "none/.wh..wh..opq"],
            ["d", "d/a", "d/b", "d/s", "d/s/x", "f", "none"],
        ),
        # Files of aufs itself.
        ([".wh..wh.plnk", ".wh..wh.aufs/x"], ["d", "d/a", "d/b", "d/s", "d/s/x", "f"]),
        # An entry that replaces one of another kind.
        ([member("d", data=b"")], ["d", "f"]),
        ([member("f", DIR), "f/x"], ["d", "d/a", "d/b", "d/s", "d/s/x", "f", "f/x"]),
        ([member("d", SYM, "f"), member("d", DIR), "d/x"], ["d", "d/x", "f"]),
        ([member("d", DIR)], ["d", "d/a", "d/b", "d/s", "d/s/x", "f"]),
        ([member("d/s", SYM, "../f"), "d/s"], ["d", "d/a", "d/b", "d/s", "f"]),
    ],
)
def test_whiteouts(place: Place, upper: Any, left: list[str]) -> None:
    assert extracted(place, LOWER, upper) == left


def test_folder_that_comes_back(place: Place) -> None:
    """An entry is unpacked beside the folder of the entry before, which was replaced."""
    assert extracted(place, ["d/a"], [".wh.d", "d/b"], [member("d", data=b""), "e/f"]) == [
        "d",
        "e",
        "e/f",
    ]


def test_attributes(place: Place) -> None:
    """Folders and the root keep modes and times although later entries change their content."""
    layers = [
        [
            member("./", DIR, mode=0o710, mtime=7),
            member("d", DIR, mode=0o500, mtime=5),
            member("d/setuid", mode=0o6755, mtime=1.5),
            member("d/none", mode=0, mtime=2**33),
            member("l", SYM, "to/no\nwhere", mtime=9),
            member("p", FIFO, mode=0o640, mtime=3),
            member("h", LNK, "d/setuid", mode=0o6755, mtime=1.5),
        ],
        [member("d", DIR, mode=0o500, mtime=5), member("d/later", mtime=8)],
    ]
    extracted(place, *layers)
    found = {name: (x["mode"], x["mtime"]) for name, x in tree(place.rootfs).items()}
    assert found == {
        "d": ("0o500", 5 * 10**9),
        "d/setuid": ("0o6755", 1_500_000_000),
        "d/none": ("0o0", 2**33 * 10**9),
        "d/later": ("0o644", 8 * 10**9),
        "l": ("0o777", 9 * 10**9),
        "p": ("0o640", 3 * 10**9),
        "h": ("0o6755", 1_500_000_000),
    }
    status = place.rootfs.stat()
    assert (oct(status.st_mode), status.st_mtime) == ("0o40710", 7)
    assert os.readlink(place.rootfs / "l") == "to/no\nwhere"  # noqa: PTH115
    assert (place.rootfs / "h").samefile(place.rootfs / "d/setuid")
    (place.rootfs / "d").chmod(0o700)


def test_names_as_they_are(place: Place) -> None:
    names = [
        "ünï€",
        "new\nline",
        os.fsdecode(b"\xff\xfe"),
        "x" * 255,
        "/".join(["y" * 200] * 12),
        " ",
    ]
    extracted(place, names)
    for name in names:
        assert (place.rootfs / name).read_bytes() == b"data"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_formats(place: Place, format: int) -> None:
    long = "/".join(["z" * 60] * 3)
    layer = tar(
        member("d/", DIR),
        member(long, mtime=1),
        member("l", SYM, "t" * 90),
        member("old", tarfile.AREGTYPE, data=b"v7"),
        member("h", LNK, "old"),
        member("con", tarfile.CONTTYPE, data=b"x"),
        format=format,
    )
    place.extract(docker_archive(layer))
    assert (place.rootfs / "h").samefile(place.rootfs / "old")
    assert (place.rootfs / long).stat().st_mtime == 1
    assert (place.rootfs / "old").read_bytes() == b"v7"
    assert os.readlink(place.rootfs / "l") == "t" * 90  # noqa: PTH115


def test_gnu_numbers_and_names(place: Place) -> None:
    layer = tar(
        member("n" * 150, uid=2**22, mtime=-5),
        member("l", SYM, "t" * 150),
        format=tarfile.GNU_FORMAT,
    )
    place.extract(docker_archive(layer))
    assert (place.rootfs / ("n" * 150)).stat().st_mtime == -5
    assert os.readlink(place.rootfs / "l") == "t" * 150  # noqa: PTH115


def test_in_an_empty_folder(place: Place) -> None:
    place.rootfs.mkdir(mode=0o750)
    inode = place.rootfs.stat().st_ino
    with pytest.raises(ImageArchiveError):
        place.extract(docker_archive(tar("a", member("d", DIR), "d/b"), tar("../x")))
    assert list(place.rootfs.iterdir()) == []
    place.extract(docker_archive(tar("a")))
    status = place.rootfs.stat()
    assert (status.st_ino, oct(status.st_mode)) == (inode, "0o40750"), "the same folder, as it was"
    before = tree(place.rootfs)
    with pytest.raises(
        ImageArchiveError, match="exists and is no empty folder: name a new or an empty folder"
    ):
        place.extract(docker_archive(tar("b")))
    assert tree(place.rootfs) == before


# --- what is refused ----------------------------------------------------------------------------


def test_replaced_link(place: Place) -> None:
    """A file replaces a link, and is not written through it."""
    link = member("l", SYM, str(place.outside / "file"))
    place.extract(docker_archive(tar(link, member("l", data=b"evil"))))
    assert (place.rootfs / "l").read_bytes() == b"evil"
    assert not (place.rootfs / "l").is_symlink()


def test_hard_link_to_a_symlink(place: Place) -> None:
    """A hard link to a symbolic link is a second name; a later file replaces only that name."""
    link = member("l", SYM, str(place.outside / "file"), mode=0o777)
    layer = tar(link, member("h", LNK, "l", mode=0o777), member("l", data=b"evil"))
    place.extract(docker_archive(layer))
    assert os.readlink(place.rootfs / "h") == str(place.outside / "file")  # noqa: PTH115


MALFORMED: dict[str, tuple[Any, str]] = {
    "hard link to nothing": (
        [["a", member("h", LNK, "b")]],
        "hard link to 'b', which is not there",
    ),
    "hard link to a folder": ([[member("d", DIR), member("h", LNK, "d")]], "hard link to a folder"),
    "hard link to the root": ([[member("h", LNK, "./")]], "which is not there"),
    "below a file": ([["a", "a/b"]], "to be below 'a', which is no folder"),
    "root is a file": ([[member("./.", data=b"")]], "its root is no folder"),
    "a long name": ([["x" * 256]], "cannot be made: File name too long"),
    "a deep path": ([["d/" * 300 + "x"]], "legal: 4096 bytes, 256 folders"),
    "a symlink to nowhere": ([[member("l", SYM, "")]], "a symbolic link to nowhere"),
    "sparse": (
        [[member("s", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})]],
        "the map of the sparse file 's'",
    ),
    "sparse in the old format": ([[member("s", b"S", data=b"")]], "that engines do not take"),
    "an unknown kind": ([[member("x", b"Z")]], "is of an unknown kind, b'Z'"),
    "an impossible time": ([[member("x", mtime=2**50)]], "has an impossible time"),
    "an owner of no system": ([[member("x", uid=2**32 - 1)]], "an entry has uid"),
    "no number": ([[member("x", pax_headers={"uid": "0x5"})]], "a pax header has uid="),
    "no time": ([[member("x", pax_headers={"mtime": "nan"})]], "a pax header has mtime="),
    "a zero byte": ([[member("x", pax_headers={"path": "a\0b"})]], "zero byte in its name"),
    "a long header": ([[member("x", pax_headers={"comment": "c" * 2**20})]], "a header of"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_layers(place: Place, name: str) -> None:
    layers, words = MALFORMED[name]
    place.refuses(docker_archive(*(tar(*layer) for layer in layers)), words)


def patch_header(data: bytes, at: int, new: bytes) -> bytes:
    """Return a tar with changed bytes in its first header, and a correct checksum."""
    header = bytearray(data[:512])
    header[at : at + len(new)] = new
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (124, b"\xff" * 12, "a size of -1 bytes"),
        (124, b"\x80" + b"\xff" * 11, "a size of "),
        (124, b"77777777777\0", "cut off in the middle of a file"),
        (100, b"9999999\0", "a number field in a header has no number"),
        (100, b"+1_0 \0\0\0", "a number field in a header has no number"),
    ],
)
def test_malformed_headers(place: Place, at: int, new: bytes, words: str) -> None:
    place.refuses(docker_archive(patch_header(tar("a"), at, new)), words)


def test_negative_size_of_a_long_name(place: Place) -> None:
    """A negative size does not cause an endless loop, as in tarfile (CVE-2025-8194)."""
    layer = patch_header(tar("a"), 156, b"L")
    place.refuses(
        docker_archive(patch_header(layer, 124, b"\xff" * 11 + b"\0")), "a size of -256 bytes"
    )


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (b"5 a=\n", ""),
        (b"99 a=b\n", "malformed"),
        (b"0 a=b\n", "malformed"),
        (b"-6 a=b\n", "malformed"),
        (b"6 a=bc", "malformed"),
        (b"6 abc\n", "malformed"),
        (b"5 =b\n", "malformed"),
        (b" a=b\n", "malformed"),
        (b"1" * 30 + b" a=b\n", "malformed"),
        (b"6 a=b\nx", "malformed"),
        (b"6 a=b\n" + bytes(20), "malformed"),
    ],
)
def test_pax_records(place: Place, records: bytes, words: str) -> None:
    header = tar(member("pax", tarfile.XHDTYPE, data=b""))[:512]
    size = patch_header(header, 124, b"%011o\0" % len(records))
    archive = docker_archive(size + records.ljust(512, b"\0") + tar("a"))
    if words:
        place.refuses(archive, words)
    else:
        place.extract(archive)


@pytest.mark.parametrize("size", [1, 511, 600, 1025])
def test_cut_off(place: Place, size: int) -> None:
    place.refuses(docker_archive(tar(member("a", data=b"x" * 700), "b")[:size]), "cut off")


def test_no_end(place: Place) -> None:
    """An archive without end blocks is accepted, like by Docker, as its digest is right."""
    place.extract(docker_archive(tar("a")[:1024]))
    assert place.names() == ["a"]


def test_damaged_checksum(place: Place) -> None:
    layer = bytearray(tar("a"))
    layer[10] ^= 1
    place.refuses(docker_archive(bytes(layer)), "the checksum of a header is wrong")


def test_damaged_layers(place: Place) -> None:
    layer = tar(member("a", data=b"x" * 1000))
    other = tar(member("a", data=b"y" * 1000))
    archive = docker_archive(layer)
    place.refuses(archive.replace(b"x" * 1000, b"y" * 1000), "another digest than its config says")
    layout = Layout()
    image = layout.image(layer)
    layout.files[f"blobs/sha256/{sha(layer)}"] = other
    place.refuses(layout.archive(image), "another digest than its manifest says")
    layout.files[f"blobs/sha256/{sha(layer)}"] = layer + b"\0"
    place.refuses(layout.archive(image), "bytes instead of")
    del layout.files[f"blobs/sha256/{sha(layer)}"]
    place.refuses(layout.archive(image), "layer 'blobs/sha256/.*' is missing in it")


@pytest.mark.parametrize("part", ["digest", "config", "manifest"])
def test_damaged_json(place: Place, part: str) -> None:
    layout = Layout()
    image = layout.image(tar("a"))
    manifest = json.loads(layout.files[f"blobs/sha256/{image['digest'][7:]}"])
    if part == "digest":
        image["digest"] = "sha256:../../../../etc/passwd"
        place.refuses(layout.archive(image), "legal: sha256 or sha512 and its digits")
    else:
        digest = image["digest"] if part == "manifest" else manifest["config"]["digest"]
        name = f"blobs/sha256/{digest[7:]}"
        layout.files[name] = layout.files[name].replace(b"{", b" ", 1)
        place.refuses(layout.archive(image), f"blob {digest} has another digest: it is damaged")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "neither an index.json .OCI. nor a manifest.json"),
        ({"etc/passwd": b""}, "An archive of 'docker export' is a bare file system"),
        ({"repositories": b"{}"}, "made by a Docker before 1.10"),
        ({"index.json": b"{"}, "index.json is no JSON"),
        ({"index.json": b"[" * 100_000}, "index.json is no JSON"),
        ({"index.json": b"[]"}, "a list instead of an object"),
        ({"index.json": b"{}"}, "'manifests': a NoneType instead of a list"),
        ({"index.json": b'{"manifests": []}'}, "the archive has: none"),
        ({"index.json": b'{"manifests": [{}]}'}, "'digest': a NoneType instead of a text"),
        ({"index.json": b'{"manifests": [5]}'}, "a int instead of an object"),
        ({"index.json": b" " * (4 * 2**20 + 1)}, "legal: at most 4194304"),
        ({"manifest.json": b"{}"}, "no list of 1 to 500 images"),
        ({"manifest.json": b"[{}]"}, "'Config': a NoneType"),
        ({"manifest.json": b'[{"Config": "../x", "Layers": []}]'}, "'../x' is missing in it"),
        ({"manifest.json": b'[{"Config": "manifest.json", "Layers": []}]'}, "instead of an object"),
    ],
)
def test_no_image(place: Place, files: dict[str, bytes], words: str) -> None:
    place.refuses(tar(*(member(name, data=data) for name, data in files.items())), words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"Cmd": 5}, "'Cmd' in its config is no list of words"),
        ({"Entrypoint": ["a", 5]}, "'Entrypoint' in its config is no list"),
        ({"Env": [5]}, "'Env' in its config"),
        ({"Labels": {"a": 5}}, "'Labels' in its config"),
        ({"User": 5}, "'User' in its config"),
        ("x", "'config' of its config is no object"),
    ],
)
def test_malformed_config(place: Place, settings: Any, words: str) -> None:
    place.refuses(docker_archive(tar("a"), settings=settings), words)


def test_layers_that_do_not_fit(place: Place) -> None:
    rootfs = {"type": "layers", "diff_ids": []}
    words = "its config has 0 layers, its manifest has 1"
    place.refuses(docker_archive(tar("a"), rootfs=rootfs), words)


def test_artifacts_and_indexes_in_indexes(place: Place) -> None:
    layout = Layout()
    config = layout.json({}, "application/vnd.cncf.helm.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": []}
    kind = "application/vnd.oci.image.manifest.v1+json"
    place.refuses(layout.archive(layout.json(manifest, kind)), "no image but an artifact of type")
    described = layout.image(tar("a"))
    for _ in range(6):
        index = layout.index(described, described)
        described = layout.json(index, "application/vnd.oci.image.index.v1+json")
    place.refuses(layout.archive(described), "indexes in indexes")


def test_index_that_names_a_billion(place: Place) -> None:
    """A chain of indexes with a hundred entries each is refused."""
    layout = Layout()
    described = layout.image(tar("a"))
    for _ in range(3):
        index = layout.index(*[described] * 100)
        described = layout.json(index, "application/vnd.oci.image.index.v1+json")
    place.refuses(layout.archive(described), "more than 500 manifests")


def test_one_image_of_two_names(place: Place) -> None:
    layout = Layout()
    one, two = layout.image(tar("a"), note="one"), layout.image(tar("a"), note="two")
    assert place.extract(layout.archive(one, two)).names == ("one", "two")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"no tar at all" * 100, "it is damaged, or not a tar"),
        (b"\xfd7zXZ\0" + bytes(600), "compressed with xz; legal: gzip, zstd or no compression"),
        (b"BZh9" + bytes(600), "compressed with bzip2"),
        (gz(bytes(2000))[:-10], "its gzip data is cut off"),
        (gz(bytes(2000))[:20], "its gzip data is cut off"),
        (gz(bytes(2000))[:-8] + bytes(8), "its gzip data is damaged"),
        (gz(bytes(2000)) + b"rest", "its gzip data is damaged"),
        (zstd.compress(bytes(2000))[:-3], "its zstd data is cut off"),
        (zstd.compress(bytes(2000)) + b"rest", "its zstd data is (damaged|cut off)"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "its zstd data is damaged"),
    ],
)
def test_no_archive(place: Place, data: bytes, words: str) -> None:
    place.refuses(data, words)
    layout = Layout()
    if data and words != "it is empty":
        layer = tar("a")
        place.refuses(layout.archive(layout.image((layer, data))), words)


def test_not_there(place: Place) -> None:
    with pytest.raises(ImageArchiveError, match="No such file or directory"):
        place.extract_from(place.root / "none.tar")
    os.mkfifo(place.root / "pipe")
    with pytest.raises(ImageArchiveError, match="neither a file nor a folder"):
        place.extract_from(place.root / "pipe")
    place.archive.write_bytes(docker_archive(tar("a")))
    with pytest.raises(ImageArchiveError, match="does not exist: make it first"):
        place.extract_from(place.archive, place.work / "none" / "rootfs")
    (place.work / "link").symlink_to("nowhere")
    with pytest.raises(ImageArchiveError, match="exists and is no empty folder"):
        place.extract_from(place.archive, place.work / "link")
    (place.work / "link").unlink()
    place.assert_untouched()


# --- bombs --------------------------------------------------------------------------------------


def test_bombs(place: Place) -> None:
    layer = tar(member("a", data=bytes(2**20)), member("b", data=bytes(2**20)))
    archive = docker_archive(layer, layer)
    place.extract(archive, max_bytes=2 * len(layer), max_entries=4)
    (place.rootfs / "a").unlink(), (place.rootfs / "b").unlink(), place.rootfs.rmdir()
    words = "unpacks to more than .* raise max_bytes"
    place.refuses(archive, words, ArchiveLimitError, max_bytes=2 * len(layer) - 1)
    layout = Layout()
    packed = layout.archive(layout.image((layer, gz(layer))))
    place.refuses(packed, words, ArchiveLimitError, max_bytes=len(layer) - 1)
    place.refuses(gz(packed), words, ArchiveLimitError, max_bytes=len(packed) - 1)
    words = "more than 3 entries: .* raise max_entries"
    place.refuses(docker_archive(tar(*"abcd")), words, ArchiveLimitError, max_entries=3)
    for options in ({"max_bytes": 0}, {"max_entries": -1}, {"max_bytes": "1g"}):
        with pytest.raises(ConfigError, match="a whole number above 0"):
            place.extract(archive, **options)


class Bomb:
    """Terabyte of zeros, compressed to a few megabytes; its plain form is never held in memory."""

    def __init__(self, pack: str) -> None:
        header = tar(member("zeros", data=b""))[:512]
        header = patch_header(header, 124, b"%011o\0" % (8**11 - 512))
        piece = bytes(2**24)
        if pack == "gzip":
            self.data = gz(header) + gz(piece) * 400
        else:
            self.data = zstd.compress(header) + zstd.compress(piece) * 10_000


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_bomb_of_many_gigabytes(place: Place, pack: str) -> None:
    """A bomb is refused at the limit, and memory does not grow."""
    data = Bomb(pack).data
    layout = Layout()
    archive = layout.archive(layout.image((tar("a"), data)))
    place.archive.write_bytes(archive)

    def memory_growth() -> int:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ArchiveLimitError, match="more than 50000000 bytes"):
            extract_image(
                place.inside(place.archive), place.inside(place.rootfs), max_bytes=50_000_000
            )
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used

    assert contained(place.root, memory_growth) < 60_000
    place.assert_untouched()


def test_many_opaque_folders(place: Place) -> None:
    """The time for many opaque folders is linear in the size of the archive."""
    names = [f"d/{number}" for number in range(3000)]
    upper = [x for name in names for x in (name, "d/.wh..wh..opq", "d/.wh.0")]
    assert len(extracted(place, names, upper)) == 3001


# --- who may ------------------------------------------------------------------------------------


def test_interrupted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted extraction leaves no files."""

    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.mkfifo", stop)
    place.archive.write_bytes(docker_archive(tar("a", member("d", DIR), "d/x", member("p", FIFO))))
    with pytest.raises(KeyboardInterrupt):
        place.extract_from(place.archive)
    place.assert_untouched()


def test_containment(place: Place, tmp_path: Path) -> None:
    """A contained process sees the place's folder as `/`, so the tests here do no harm."""

    def escape() -> list[str]:
        for way in ("/escaped", "../../../../../escaped"):
            Path(way).write_text("harmless")
        return sorted(path.name for path in Path("/").iterdir())

    if IS_ROOT:
        assert contained(tmp_path, escape) == ["escaped", "outside", "work"]
        assert (tmp_path / "escaped").read_text() == "harmless"
        assert contained(tmp_path, os.geteuid, has_rights=False) == NOBODY
    with pytest.raises(ConfigError, match="what was said"):
        contained(tmp_path, lambda: (_ for _ in ()).throw(ConfigError("what was said")))
