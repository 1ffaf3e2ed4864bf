"""Layers of other builders: links, implied folders, odd names and sparse files, as engines have them.

All cases are in one image of two layers, each below a folder of its own.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_extract import assert_same, export, extracted, root_of
from tests.support.archives import config_of, extract_contained, member, sha, tar
from tests.support.sides import TOOLS, Side, start_side

pytest_plugins = ["tests.support.archives"]

DIR, LNK, SYM, FIFO, CHR = (
    tarfile.DIRTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
)
BASE = [
    member("usr", DIR),
    member("usr/bin", DIR),
    member("usr/bin/sh", mode=0o755),
    member("bin", SYM, "usr/bin"),
    member("var", DIR),
    member("run", DIR),
    "run/keep",
    member("var/run", SYM, "/@/run"),
]
# Entries of the lower layer, and of the upper one. `@` stands for the case's own folder.
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "file below a lower link": (BASE, ["bin/foo"]),
    "file below a lower absolute link": (BASE, ["var/run/app.pid"]),
    "folder below a lower link": (BASE, [member("bin/d", DIR, mode=0o700), "bin/d/x"]),
    "deep below a lower link": (BASE, ["bin/a/b/c"]),
    "folder over a lower link": (BASE, [member("bin", DIR, mode=0o711)]),
    "file over a lower link": (BASE, ["bin"]),
    "link over a lower link": (BASE, [member("bin", SYM, "run")]),
    "link over a lower folder": (BASE, [member("usr/bin", SYM, "/@/run")]),
    "link over a lower folder, and below it": (
        BASE,
        [member("run", DIR), member("usr/bin", SYM, "../run"), "usr/bin/x"],
    ),
    "whiteout below a lower link": (BASE, ["bin/.wh.sh"]),
    "whiteout of a lower link": (BASE, [".wh.bin"]),
    "opaque over a lower link": (BASE, ["bin/.wh..wh..opq"]),
    "file below a lower file": (["f"], ["f/x"]),
    "link in the same layer": ([], [*BASE, "bin/foo"]),
    "absolute link in the same layer": ([], [*BASE, "var/run/x"]),
    "links to links": (
        [],
        ["d/x", member("a", SYM, "b"), member("b", SYM, "/@/c"), member("c", SYM, "d"), "a/y"],
    ),
    "link upwards": ([], ["d/x", member("d/up", SYM, ".."), "d/up/y"]),
    "link to the folder itself": ([], [member("d", DIR), member("d/l", SYM, "."), "d/l/y"]),
    "folder entry through a link": (
        [],
        [member("d", DIR), member("l", SYM, "d"), member("l/sub", DIR, mode=0o751), "l/sub/x"],
    ),
    "implied folder through a link": (
        [],
        [member("d", DIR), member("l", SYM, "d"), "l/sub/deep/x"],
    ),
    "hard link through a link": (
        [],
        ["d/x", member("l", SYM, "d"), member("h", LNK, "@/l/x"), member("l/g", LNK, "@/d/x")],
    ),
    "hard link to a link": (
        [],
        ["d/x", member("l", SYM, "d", mode=0o777), member("h", LNK, "@/l", mode=0o777), "h/y"],
    ),
    "folder replaced by a link": (
        [],
        ["d/x", "l/old", member("l", SYM, "d"), "l/y"],
    ),
    "pipe and device through a link": (
        [],
        [
            member("d", DIR),
            member("l", SYM, "d"),
            member("l/p", FIFO),
            member("l/c", CHR, devmajor=1, devminor=3),
            member("l/s", SYM, "x"),
        ],
    ),
    "implied, where the lower is 700": ([member("a", DIR, mode=0o700, uid=7)], ["a/b"]),
    "implied, and listed later": (
        [member("a", DIR, mode=0o700, uid=7)],
        ["a/b", member("a", DIR, mode=0o750, uid=8)],
    ),
    "listed before": (
        [member("a", DIR, mode=0o700, uid=7)],
        [member("a", DIR, mode=0o750, uid=8), "a/b"],
    ),
    "implied deep": (
        [member("a", DIR, mode=0o700), member("a/b", DIR, mode=0o700, uid=9), "a/b/old"],
        ["a/b/c/d"],
    ),
    "implied by a whiteout": ([member("a", DIR, mode=0o700, uid=7), "a/x"], ["a/.wh.x"]),
    "implied by an opaque mark": ([member("a", DIR, mode=0o700, uid=7), "a/x"], ["a/.wh..wh..opq"]),
    "implied by a whiteout of nothing": ([], ["n/.wh.x"]),
    "implied by a hard link": (["f"], ["g", member("n/h", LNK, "@/g")]),
    "not touched": ([member("a", DIR, mode=0o700, uid=7), "a/x"], ["y"]),
    "opaque and new": (
        [member("a", DIR, mode=0o700, uid=7), "a/x", "a/y"],
        [member("a", DIR, mode=0o711, uid=8), "a/.wh..wh..opq", "a/z"],
    ),
    "replaced by a whiteout and a folder": (
        ["a/x", "a/y"],
        [".wh.a", member("b", DIR)],
    ),
    "absolute name": ([], ["/@/ko-app/app"]),
    "absolute folder and link": (
        [],
        [member("/@/nix", DIR), "/@/nix/a", member("/@/nix/b", LNK, "/@/nix/a")],
    ),
    "relative and absolute": ([], [member("nix", DIR), "nix/a", member("nix/b", LNK, "/@/nix/a")]),
    "two slashes": ([], ["//@/a//b"]),
    "dots": ([], [member("a", DIR), member("b", DIR), "a/../b/x", "./a/./y"]),
    "dots through the root": ([], ["/../@/x"]),
    "dots in a hard link": ([], ["f", member("a", DIR), member("a/h", LNK, "@/a/../f")]),
    "dots at the end of a folder": ([], [member("a/b/..", DIR, mode=0o710)]),
    "a slash at the end": ([], [member("a/", DIR), "a/x"]),
    "a dot in front": ([], [member("./a", DIR), "./a/x"]),
    "absolute whiteout": (["a/x", "a/y"], ["/@/a/.wh.x"]),
    "dots in a whiteout": (["a/x", "a/y"], ["b/../a/.wh.x"]),
    "a whiteout of nothing": (["a/x", "a/y"], ["a/.wh.x", ".wh.b"]),
    "odd names": ([], ["a b", "ünï€", "-x", "new\nline", ".whx", "wh.x", "...", "..a", "a.."]),
    "a long name": ([], ["d" * 90 + "/" + "n" * 200]),
    "a folder, then a file": ([], ["f/x", member("f")]),
}


def sparse(version: str) -> Any:
    """Return an entry of a sparse file in a pax format: two parts, and a hole at each end."""
    parts = [(4096, 512), (1 << 20, 700)]
    size = 3 << 20
    data = b"".join(bytes([65 + n]) * length for n, (_, length) in enumerate(parts))
    numbers = [str(x) for part in parts for x in part]
    headers = {"GNU.sparse.name": "@/file"} if version != "0.0" else {}
    if version == "1.0":
        text = "".join(f"{x}\n" for x in (len(parts), *numbers)).encode()
        data = text.ljust(512, b"\0") + data
        headers |= {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        headers["GNU.sparse.realsize"] = str(size)
        return member("GNUSparseFile.0/file", data=data, pax_headers=headers)
    headers |= {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": str(len(parts))}
    headers["GNU.sparse.map"] = ",".join(numbers)
    return member(
        "file" if version == "0.0" else "GNUSparseFile.0/file", data=data, pax_headers=headers
    )


for each in ("0.1", "1.0"):
    CASES[f"sparse {each}"] = ([], [sparse(each), "after"])


def placed(entries: list[Any], folder: str) -> Iterator[Any]:
    """Yield the entries below the folder of their case."""
    for entry in entries:
        info, data = member(entry) if isinstance(entry, str) else entry
        fields = {"mode": info.mode, "uid": info.uid, "devmajor": info.devmajor}
        fields |= {"devminor": info.devminor, "data": data}
        headers = {k: v.replace("@", folder) for k, v in info.pax_headers.items()}
        is_placed = "@" in info.name
        name = info.name.replace("@", folder) if is_placed else f"{folder}/{info.name}"
        if info.name.startswith("./"):
            name = f"./{folder}/{info.name[2:]}"
        link = info.linkname.replace("@", folder)
        yield member(name, info.type, link, pax_headers=headers, **fields)


def image() -> bytes:
    """Return an image with all cases, as `docker save` archives it."""
    layers: list[list[Any]] = [[], []]
    for number, (lower, upper) in enumerate(CASES.values()):
        folder = f"c{number:02}"
        for layer, entries in zip(layers, (lower, upper)):
            layer.append(member(folder, DIR))
            layer += placed(entries, folder)
    tars = [tar(*layer) for layer in layers]
    config = config_of(tars, {"Cmd": ["/x"]})
    names = [f"{number}/layer.tar" for number in range(len(tars))]
    listed = [{"Config": f"{sha(config)}.json", "RepoTags": ["localhost/odd:1"], "Layers": names}]
    return tar(
        member(f"{sha(config)}.json", data=config),
        *(member(name, data=layer) for name, layer in zip(names, tars)),
        member("manifest.json", data=json.dumps(listed).encode()),
    )


@pytest.fixture(scope="module", params=TOOLS)
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with start_side(request.param) as started:
        yield started


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out times: a folder that no layer lists has none."""
    return {
        name: {key: value for key, value in item.items() if key != "mtime"}
        for name, item in found.items()
    }


def test_as_the_engine_exports(side: Side, tmp_path: Path) -> None:
    machine, tool = side.machine, side.tool
    assert len(CASES) >= 50
    archive = tmp_path / "image.tar"
    archive.write_bytes(image())
    loaded = root_of(machine) / "root/image.tar"
    shutil.copy(archive, loaded)
    machine.run(f"{tool} load -i /root/image.tar")
    theirs = without_times(export(machine, "localhost/odd:1", tool))
    found = extract_contained(tmp_path, archive, tmp_path / "rootfs")
    ours = without_times(extracted(found))
    titles = list(CASES)
    different = {
        titles[int(name[1:3])]: (name, ours.get(name), theirs.get(name))
        for name in {*ours, *theirs}
        if ours.get(name) != theirs.get(name)
    }
    assert not different
    assert_same(ours, theirs)
