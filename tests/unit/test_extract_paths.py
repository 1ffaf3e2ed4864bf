"""Layers whose paths and links lead outside: which are refused, and which stay inside."""

from __future__ import annotations

import tarfile
from typing import Any

import pytest

from lisa_container.errors import ImageArchiveError, UnsafeArchiveError
from tests.support.archives import Place, docker_archive, member, tar

pytest_plugins = ["tests.support.archives"]

DIR, LNK, SYM = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
OUT = "OUTSIDE"  # stands for the folder that nothing may be written to

HOSTILE: dict[str, tuple[list[Any], str]] = {
    "dots": ([["../evil"]], r"'../evil' leads outside of the root file system"),
    "dots inside": ([["a/../../evil"]], "leads outside"),
    "hard link outside": ([[member("h", LNK, "../outside/file")]], "leads outside"),
    "whiteout of the folder": (
        [["d/x"], ["d/.wh.."]],
        "is a whiteout of its own or the parent folder",
    ),
    "whiteout of the folder above": (
        [["d/x"], ["d/.wh..."]],
        "is a whiteout of its own or the parent folder",
    ),
    "whiteout of nothing": ([["d/x"], ["d/.wh."]], "is a whiteout of its own or the parent folder"),
    "whiteout with dots": ([["d/x"], ["../.wh.outside"]], "leads outside"),
    "opaque with dots": ([["d/x"], ["../.wh..wh..opq"]], "leads outside"),
    "overlayfs": (
        [[member("d", DIR, pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})]],
        "has an attribute of overlayfs",
    ),
}
NOT_HERE = "which this layer does not have"
BROKEN: dict[str, tuple[list[Any], str]] = {
    "symlink, absolute": ([[member("l", SYM, OUT), "l/evil"]], NOT_HERE),
    "symlink, relative": ([[member("l", SYM, "../outside"), "l/evil"]], NOT_HERE),
    "symlink above": ([[member("d/l", SYM, OUT), "d/l/folder/evil"]], NOT_HERE),
    "symlink to itself": ([[member("l", SYM, "l"), "l/evil"]], "too many symbolic links"),
    "circle": (
        [[member("a", SYM, "b/x"), member("b", SYM, "a/y"), "a/evil"]],
        "too many symbolic links",
    ),
    "chain": ([[member("a", SYM, "b"), member("b", SYM, OUT), "a/evil"]], NOT_HERE),
    "folder through a symlink": (
        [[member("l", SYM, OUT), member("l/folder", DIR, mode=0o777)]],
        NOT_HERE,
    ),
    "symlink through a symlink": ([[member("l", SYM, OUT), member("l/x", SYM, "y")]], NOT_HERE),
    "link to a file": ([["f", member("l", SYM, "f"), "l/evil"]], "which is no folder"),
    "link to a lower layer": ([["d/x"], [member("l", SYM, "d"), "l/evil"]], NOT_HERE),
    "hard link, absolute": ([[member("h", LNK, f"{OUT}/file")]], "which is not there"),
    "hard link below a symlink": ([[member("l", SYM, OUT), member("l/h", LNK, "l")]], NOT_HERE),
    "hard link through a lower link": (
        [[member("l", SYM, OUT)], [member("h", LNK, "l/file")]],
        "which is not there",
    ),
}
# Layers, and the paths that they make.
INSIDE: dict[str, tuple[list[Any], list[str]]] = {
    "symlink upwards": ([[member("l", SYM, ".."), "l/a"]], ["a", "l"]),
    "symlink far upwards": ([[member("d/l", SYM, "../../../.."), "d/l/a"]], ["a", "d", "d/l"]),
    "symlink to the root": ([[member("l", SYM, "/"), "l/a"]], ["a", "l"]),
    "link of a layer below": ([[member("l", SYM, "/etc")], ["l/a"]], ["l", "l/a"]),
    "file of a layer below": ([["l"], ["l/a"]], ["l", "l/a"]),
    "link and folder": ([[member("l", SYM, "d"), "d/x", "l/a"]], ["d", "d/a", "d/x", "l"]),
    "link to a link": (
        [[member("l", SYM, "m"), member("m", SYM, "/d"), "d/x", "l/a"]],
        ["d", "d/a", "d/x", "l", "m"],
    ),
    "link that was replaced": (
        [[member("l", SYM, "d"), "d/x", member("l", DIR), "l/a"]],
        ["d", "d/x", "l", "l/a"],
    ),
    "link in a folder that was replaced": (
        [["e/x", member("d/l", SYM, "/e"), "d", member("d", DIR), member("d/l", DIR), "d/l/a"]],
        ["d", "d/l", "d/l/a", "e", "e/x"],
    ),
    "hard link to a link": (
        [["d/x", member("l", SYM, "d"), member("h", LNK, "l"), "h/a"]],
        ["d", "d/a", "d/x", "h", "l"],
    ),
    "hard link through a link": (
        [["d/x", member("l", SYM, "d"), member("h", LNK, "l/x")]],
        ["d", "d/x", "h", "l"],
    ),
    "dots": ([["a/../b", "c/./d", "e//f", "/../g"]], ["b", "c", "c/d", "e", "e/f", "g"]),
    "dots at the end": ([[member("a/..", DIR), "b"]], ["b"]),
    "absolute": ([["/a/b", member("/c", LNK, "/a/b"), "//d"]], ["a", "a/b", "c", "d"]),
    "whiteout, absolute": ([["a/b", "a/c"], ["/a/.wh.b"]], ["a", "a/c"]),
    "whiteout through a link": ([["f", member("l", SYM, "/")], ["l/.wh.f"]], ["f", "l"]),
    "opaque through a link": ([["f", member("l", SYM, "/")], ["l/.wh..wh..opq"]], ["f", "l"]),
    "whiteouts below a link": (
        [["f", member("l", SYM, "/d")], ["l/d/.wh..wh..opq", "l/d/.wh.x"]],
        ["f", "l", "l/d"],
    ),
    "whiteout in no folder": ([["f"], ["d/.wh.x"]], ["d", "f"]),
}


def archive_aimed_outside(place: Place, layers: list[Any]) -> bytes:
    """Return an archive of layers whose links lead to the folder outside."""

    def aim(each: Any) -> Any:
        info, data = member(each) if isinstance(each, str) else each
        info.name = info.name.replace(OUT, str(place.inside(place.outside)))
        info.linkname = info.linkname.replace(OUT, str(place.inside(place.outside)))
        return info, data

    return docker_archive(*(tar(*map(aim, layer)) for layer in layers))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(place: Place, name: str) -> None:
    layers, words = HOSTILE[name]
    message = place.refuses(archive_aimed_outside(place, layers), words, UnsafeArchiveError)
    assert "Get the image anew from a source that you trust" in message


@pytest.mark.parametrize("name", BROKEN)
def test_broken(place: Place, name: str) -> None:
    layers, words = BROKEN[name]
    place.refuses(archive_aimed_outside(place, layers), words, ImageArchiveError)


@pytest.mark.parametrize("name", INSIDE)
def test_inside(place: Place, name: str) -> None:
    """Links stay inside the root and their own layer; absolute paths begin at the root."""
    layers, names = INSIDE[name]
    place.extract(archive_aimed_outside(place, layers))
    assert place.names() == names


def test_modes_of_folders_that_a_layer_does_not_list(place: Place) -> None:
    lower = tar(*(member(name, DIR, mode=0o700, uid=7) for name in ("a", "b", "c", "d")))
    upper = tar("a/x", "b/x", member("b", DIR, mode=0o711, uid=8), "c/.wh.x")
    place.extract(docker_archive(lower, upper))
    found = {
        name: (oct((place.rootfs / name).stat().st_mode)[-3:], (place.rootfs / name).stat().st_uid)
        for name in "abcd"
    }
    assert found == {"a": ("755", 0), "b": ("711", 8), "c": ("755", 0), "d": ("700", 7)}
