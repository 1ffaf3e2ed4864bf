"""Images made of layers: content of the archive, reproducibility, and refused input."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from docker.auth import INDEX_NAME

from lisa_container import ConfigError
from lisa_container.config import ContainerTestConfig
from lisa_container.errors import ImageArchiveError
from lisa_container.images import LayeredImage, LayerEntry, image_from_layers
from lisa_container.images.layers import made_image

ROOT = Path(__file__).parent.parent.parent
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00"
GOLDEN = "sha256:1cc7f25aa948556dd68e9c1b2f55adc0c0770256f8ac1ec4ad041cacf53455c3"


def members(image: LayeredImage, name: str = "") -> dict[str, bytes]:
    """Return the files of the archive."""
    data = b"".join(image.stream(name))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for info in archive:
            file = archive.extractfile(info)
            if file is not None:
                found[info.name] = file.read()
    return found


def entries(image: LayeredImage, number: int = 0) -> dict[str, tarfile.TarInfo]:
    """Return the entries of a layer, without the root."""
    data = b"".join(image.layers[number].stream())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive if info.name != "."}


def modes(image: LayeredImage, number: int = 0) -> dict[str, str]:
    return {name: oct(info.mode) for name, info in entries(image, number).items()}


# --- the archive --------------------------------------------------------------------------------


def test_both_formats_in_one() -> None:
    image = image_from_layers(
        [{"a": b"1"}, {"b": b"2"}, {"a": b"1"}],
        cmd=["/a", "b"],
        entrypoint="echo $X",
        env={"X": 1},
        working_dir="/srv",
        user=7,  # type: ignore[arg-type]
        labels={"who": "me"},
        platform="linux/arm/v7",
    )
    found = members(image, "team/tool:1")
    for name, content in found.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    (docker,) = json.loads(found["manifest.json"])
    assert docker["RepoTags"] == ["team/tool:1"]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(found["index.json"])["manifests"]
    assert described["digest"] == image.digest
    assert described["platform"] == {"os": "linux", "architecture": "arm", "variant": "v7"}
    assert described["annotations"] == {
        "io.containerd.image.name": f"{INDEX_NAME}/team/tool:1",
        "org.opencontainers.image.ref.name": "1",
    }
    manifest = json.loads(found[f"blobs/sha256/{image.digest[7:]}"])
    assert manifest["config"]["digest"] == image.id
    assert docker["Config"] == f"blobs/sha256/{image.id[7:]}"
    assert docker["Layers"] == [f"blobs/sha256/{x['digest'][7:]}" for x in manifest["layers"]]
    for layer in manifest["layers"]:
        assert layer["size"] == len(found[f"blobs/sha256/{layer['digest'][7:]}"])
    config = json.loads(found[docker["Config"]])
    assert config["rootfs"]["diff_ids"] == [x["digest"] for x in manifest["layers"]]
    assert config["config"] == {
        "Cmd": ["/a", "b"],
        "Entrypoint": ["/bin/sh", "-c", "echo $X"],
        "Env": ["X=1"],
        "Labels": {"who": "me"},
        "User": "7",
        "WorkingDir": "/srv",
    }
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")


def test_name_is_added_later() -> None:
    image = image_from_layers([{"a": b""}])
    assert json.loads(members(image)["manifest.json"])[0]["RepoTags"] is None
    with pytest.raises(ConfigError, match="did you mean 'tool:1'"):
        image.stream("Tool:1")
    with pytest.raises(ConfigError, match="no digest"):
        image.stream("tool@sha256:" + "0" * 64)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """An image's bytes do not depend on the process, hash seed, order and times of files."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b", "a", "c"):
        (folder / name).write_text(name)
    layers: list[Any] = [{"x/y": b"1", "srv": folder, "x/l": LayerEntry.symlink("y")}]
    first = image_from_layers(layers, env={"A": "1"}).save(tmp_path / "first.tar")
    os.utime(folder / "a", (1, 1))
    script = (
        "import sys; from pathlib import Path; from lisa_container.images import *\n"
        "layers = [{'x/l': LayerEntry.symlink('y'), 'srv': Path(sys.argv[1]), 'x/y': b'1'}]\n"
        "image_from_layers(layers, env={'A': '1'}).save(sys.argv[2])"
    )
    second = tmp_path / "second.tar"
    words = [sys.executable, "-c", script, str(folder), str(second)]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    assert first.read_bytes() == second.read_bytes()
    other = image_from_layers(layers, env={"A": "2"})
    assert other.reference != image_from_layers(layers, env={"A": "1"}).reference


def test_the_bytes_never_change() -> None:
    """Keys stay the same in later versions of the package."""
    image = image_from_layers([{"bin/tool": b"#!x"}], cmd=["tool"], platform="linux/amd64")
    assert image.digest == GOLDEN, image.digest


def test_name_for_configs() -> None:
    image = image_from_layers([{"a": b"1"}])
    config = ContainerTestConfig(image=image.reference)
    assert config.is_local_image
    assert config.image_reference == image.reference
    assert made_image(image.reference) is image
    again = image_from_layers([{"a": b"1"}])
    assert again.reference == image.reference
    assert made_image(image.reference) is again, "its files are those that are there now"


# --- entries ------------------------------------------------------------------------------------


def test_modes() -> None:
    image = image_from_layers(
        [
            {
                "etc/text": b"text",
                "etc/script": b"#!/bin/sh\n",
                "opt/program": ELF,
                "usr/bin/data": b"data",
                "/usr/lib/libexec/data": b"data",
                "bin.d/no": b"",
                "tmp/x": b"",
                "var/tmp/x": b"",
                "root/x": LayerEntry(b"#!", mode=0o4700),
                "dev/null": LayerEntry.device("c", 1, 3),
                "dev/loop0": LayerEntry.device("b", 7, 0, mode=0o660),
                "run/fifo": LayerEntry.fifo(),
            }
        ]
    )
    found = modes(image)
    plain = {"etc/text", "bin.d/no", "run/fifo", "tmp/x", "var/tmp/x"}
    assert {name for name, mode in found.items() if mode == "0o644"} == plain
    programs = {"etc/script", "opt/program", "usr/bin/data", "usr/lib/libexec/data"}
    assert all(found[name] == "0o755" for name in [*programs, "etc", "usr/bin"])
    assert (found["tmp"], found["var/tmp"], found["root"]) == ("0o1777", "0o1777", "0o700")
    assert (found["root/x"], found["dev/null"], found["dev/loop0"]) == ("0o4700", "0o600", "0o660")
    null = entries(image)["dev/null"]
    assert (null.ischr(), null.devmajor, null.devminor) == (True, 1, 3)


@pytest.mark.parametrize(
    ("data", "machine", "platform"),
    [(1, b"\x3e\0", "linux/amd64"), (1, b"\xb7\0", "linux/arm64"), (2, b"\0\x16", "linux/s390x")],
)
def test_platform_of_the_first_program(data: int, machine: bytes, platform: str) -> None:
    program = b"\x7fELF\x02" + bytes([data, 1]) + bytes(9) + b"\x02\x00" + machine
    layers: list[Any] = [{"a": b"\x7fELF is no program"}, {"b": program}]
    assert image_from_layers(layers).platform == platform
    assert image_from_layers(layers, platform="linux/arm/v6").platform == "linux/arm/v6"


def test_attributes() -> None:
    strange = os.fsdecode(b"\xff\xfe ") + "ü" * 120
    entry = LayerEntry(
        b"x", uid=2**31, gid=5, mtime=1.25, xattrs={"user.x": b"\0\xff", "user.a": b""}
    )
    found = entries(image_from_layers([{strange: entry, "h": LayerEntry.hard_link(f"/{strange}")}]))
    info = found[strange]
    assert (info.uid, info.gid, info.mtime) == (2**31, 5, 1.25)
    assert info.pax_headers["SCHILY.xattr.user.x"].encode("utf-8", "surrogateescape") == b"\0\xff"
    assert (found["h"].islnk(), found["h"].linkname) == (True, strange)
    assert found["h"].pax_headers["SCHILY.xattr.user.x"] == info.pax_headers["SCHILY.xattr.user.x"]
    assert (found["h"].uid, found["h"].mtime) == (2**31, 1.25), (
        "engines give both those of the last"
    )
    assert list(found)[-1] == "h", "behind what it links to"


def test_folders_keep_attributes_of_lower_layers() -> None:
    image = image_from_layers(
        [
            {
                "data": LayerEntry.folder(mode=0o2770, uid=3),
                "data/a": b"",
                "old/x": b"",
                "gone": b"",
            },
            {
                "data/b": b"",
                "old": LayerEntry.opaque(),
                "old/y": b"",
                "gone": LayerEntry.whiteout(),
            },
            {"gone/now/a/folder": b"", "old/x/z": b""},
        ]
    )
    upper = entries(image, 1)
    assert (oct(upper["data"].mode), upper["data"].uid) == ("0o2770", 3)
    assert [*upper] == ["data", "data/b", ".wh.gone", "old", "old/.wh..wh..opq", "old/y"]
    assert "." not in upper
    assert entries(image, 2)["old/x"].isdir(), "the file below was hidden"


def test_folder_of_this_machine(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run").write_text("x")
    (source / "sub" / "run").chmod(0o700)
    (source / "text").write_text("y")
    (source / "text").chmod(0o600)
    os.symlink("sub/", source / "link")  # noqa: PTH211  # pathlib drops a slash at the end
    (tmp_path / "link").symlink_to(source)
    image = image_from_layers([{"opt/s": tmp_path / "link"}])
    assert modes(image) == {
        "opt": "0o755",
        "opt/s": "0o755",
        "opt/s/link": "0o777",
        "opt/s/sub": "0o755",
        "opt/s/sub/run": "0o755",
        "opt/s/text": "0o644",
    }
    assert entries(image)["opt/s/link"].linkname == "sub/"
    os.mkfifo(source / "pipe")
    with pytest.raises(ConfigError, match="pipe' is neither a file, a folder nor a symbolic link"):
        image_from_layers([{"opt/s": source}])


def test_big_files_are_streamed(tmp_path: Path) -> None:
    """A process limited to 200 MiB of memory makes an image of a sparse file of 256 MiB."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(2**28)
    script = (
        "import sys, resource; from pathlib import Path; from lisa_container.images import *\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = image_from_layers([{'big': Path(sys.argv[1])}])\n"
        "total = sum(len(piece) for piece in image.stream())\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used\n"
        "assert total > 2**28 and grown < 20_000, (total, grown)"
    )
    subprocess.run([sys.executable, "-c", script, str(big)], check=True)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "layers: given 0; legal: 1 to 125"),
        ([{}] * 126, "layers: given 126"),
        (["x"], r"layers\[0\]: given 'x'; legal: a mapping"),
        ([{"a": "text"}], r"text as bytes: text.encode\(\); a path: Path\(text\)"),
        ([{"a": 5}], r"layers\[0\], 'a': given a int"),
        ([{"": b""}], "path: given ''"),
        ([{"a/": b""}], r"a folder is LayerEntry.folder\(\)"),
        ([{"../a": b""}], "without '.' and '..'"),
        ([{"a/./b": b""}], "without '.' and '..'"),
        ([{"a\0b": b""}], "path: given"),
        ([{5: b""}], "path: given 5"),
        ([{"x" * 256: b""}], "more than 255 bytes"),
        ([{"a": b"", "/a": b""}], "'a' is given twice"),
        ([{"etc/.wh.x": b""}], r"LayerEntry.whiteout\(\)"),
        ([{"a": Path("/not/there")}], "'/not/there' does not exist on this machine"),
        ([{"a": Path("/dev/null")}], "'/dev/null' is no plain file"),
        ([{"a": b"", "a/b": b""}], "'a/b' cannot be below 'a', which is a file of this layer"),
        (
            [{"lib": LayerEntry.symlink("usr/lib")}, {"lib/x": b""}],
            "symlink of a layer below: use 'usr/lib'",
        ),
        ([{"a": LayerEntry.whiteout(), "a/b": b""}], "which is a whiteout of this layer"),
        ([{"a": b""}, {"b": LayerEntry.hard_link("a")}], "no file of the same layer"),
        ([{"a": LayerEntry.hard_link("../a")}], "without '.' and '..'"),
    ],
)
def test_refused(layers: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        image_from_layers(layers)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cmd": b"x"}, "cmd: given b'x'"),
        ({"cmd": ["a", 5]}, "a string or a list of strings"),
        ({"env": {"A=B": "x"}}, "a name without '='"),
        ({"working_dir": "srv"}, "working_dir: given 'srv'"),
        ({"user": "a b"}, "user: given 'a b'"),
        ({"labels": {"": "x"}}, "labels, key"),
        ({"platform": "amd64"}, "legal: os/architecture"),
    ],
)
def test_refused_settings(options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        image_from_layers([{"a": b""}], **options)


def test_no_value_of_the_environment_in_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        image_from_layers([{"a": b""}], env={"PASSWORD": b"hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LayerEntry("x"),  # type: ignore[arg-type]
        lambda: LayerEntry(mode=0o10000),
        lambda: LayerEntry(uid=-1),
        lambda: LayerEntry(mtime="x"),  # type: ignore[arg-type]
        lambda: LayerEntry(xattrs={"x": b""}),
        lambda: LayerEntry(xattrs={"user.x": "x"}),  # type: ignore[dict-item]
        lambda: LayerEntry(target="x"),
        lambda: LayerEntry.symlink(""),
        lambda: LayerEntry.device("x", 1, 1),
        lambda: LayerEntry.device("c", 2**12, 1),
        lambda: LayerEntry(b"x", kind=LayerEntry.fifo().kind),
    ],
)
def test_refused_entries(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("content", [b"changed", b"ab", b"a longer one"])
def test_a_file_that_changes_meanwhile(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    image = image_from_layers([{"a": file}])
    b"".join(image.stream())
    file.write_bytes(content)
    target = tmp_path / "image.tar"
    target.write_bytes(b"of yesterday")
    with pytest.raises(ImageArchiveError, match="changed after the image was made"):
        image.save(target)
    file.unlink()
    with pytest.raises((ConfigError, ImageArchiveError), match="cannot be read"):
        image.save(target)
    assert target.read_bytes() == b"of yesterday"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["image.tar"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    image = image_from_layers([{"a": b""}])
    with pytest.raises(ImageArchiveError, match="cannot be written: No such file"):
        image.save(tmp_path / "none" / "image.tar")
    assert oct(image.save(tmp_path / "image.tar").stat().st_mode) == "0o100644"
