"""Random archives: nothing is written outside, nothing is left behind, and nothing hangs.

Each archive ends with a root file system or with an error of this package. A seed makes a run
repeatable, and its time is bounded.

These tests must do no harm even if extraction is broken: root would follow a link to `/` and
destroy the machine's files. So they run in a process without rights, and no archive names a path
outside its own folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lisa_container.errors import ContainerError, ImageArchiveError
from lisa_container.images import LayerEntry, extract_image, image_from_layers
from tests.support.archives import (
    IS_ROOT,
    NOBODY,
    Layout,
    Place,
    contained,
    docker_archive,
    gz,
    member,
    tar,
    tree,
)
from tests.support.soak import SEED, amount

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytest_plugins = ["tests.support.archives"]

# Seconds for one archive, ten times the time on a loaded machine; and for one test.
SECONDS = 20
ALL_SECONDS = amount(120, 15)
LIMITS = {"max_bytes": 3_000_000, "max_entries": 500}


class Hang(BaseException):
    """Timeout that the package must not mistake for an error of its own."""


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(*args: Any) -> None:
        raise Hang(f"not done in {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def extract_any(place: Place, archive: bytes) -> bool:
    """Extract an archive, check the rules, and tell whether it was extracted."""
    place.archive.write_bytes(archive)
    extracted = False
    try:
        with no_hang():
            extract_image(place.archive, place.rootfs, skip_denied=True, **LIMITS)
        extracted = True
    except ContainerError as error:
        assert isinstance(error, ImageArchiveError), error
    assert tree(place.outside) == place.before, "it wrote outside"
    left = ["neighbour", "rootfs"] if extracted else ["neighbour"]
    assert place.there() == left, "it left something, or took something away"
    if extracted:
        assert_below(place.rootfs)
        shutil.rmtree(place.rootfs)
    return extracted


def assert_below(root: Path) -> None:
    """Check that no file is another name of a file outside; make its folders accessible."""
    names: dict[tuple[int, int], list[Path]] = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        folder.chmod(0o700)
        for path in folder.iterdir():
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            else:
                names.setdefault((status.st_dev, status.st_ino), []).append(path)
    for paths in names.values():
        assert paths[0].lstat().st_nlink == len(paths), paths


# --- layers put together of hostile parts -------------------------------------------------------

# Few names, so that entries collide; and few refused ones, so that later entries are reached.
GOOD = [
    "a",
    "b",
    "l",
    "a/b",
    "a/l",
    "l/a",
    "l/x",
    "l/folder/x",
    "a/l/x",
    "l/b/x",
    ".wh.a",
    "a/.wh.l",
]
GOOD += ["l/.wh.file", "l/.wh..wh..opq", "a/.wh..wh..opq", ".wh..wh..opq", "l/.wh.folder", ".wh.l"]
BAD = [
    "..",
    "../x",
    "../../outside/x",
    "OUTSIDE/x",
    ".wh..",
    ".wh...",
    "a/.wh...",
    "a/.wh.",
    "",
    "./",
]
LINKS = ["OUTSIDE", "OUTSIDE/folder", "../../outside", "../../outside/file", "..", "a", "l", "."]
common, rare = st.sampled_from(GOOD), st.sampled_from(BAD)
names = st.integers(0, 19).flatmap(lambda dice: rare if dice == 0 else common)
links = st.one_of(st.sampled_from(LINKS), st.sampled_from(LINKS), names)
kinds = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.REGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
    ]
)
entries = st.tuples(names, kinds, links, st.sampled_from([0o000, 0o644, 0o7777]))
layers = st.lists(st.lists(entries, min_size=1, max_size=8), min_size=1, max_size=3)


def archive_of(place: Place, described: Any) -> bytes:
    def aim(name: str) -> str:
        return name.replace("OUTSIDE", str(place.outside))

    return docker_archive(
        *(
            tar(*(member(aim(n), kind, aim(link), mode=mode) for n, kind, link, mode in layer))
            for layer in described
        )
    )


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Path]:
    """Make one folder for all tests, owned by the user nobody; tests leave it unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        if IS_ROOT:
            os.chown(folder, NOBODY, NOBODY)
        contained(Path(folder), lambda: Place(inside(folder)) and None, has_rights=False)
        yield Path(folder)


def inside(folder: Path | str) -> Path:
    """Return the folder's path in a process contained there."""
    return Path("/") if IS_ROOT else Path(folder)


def run_without_rights(folder: Path, work: Callable[[Place], Any]) -> Any:
    """Do work in a process that sees only the folder and is not root."""
    return contained(folder, lambda: work(Place(inside(folder), is_there=True)), has_rights=False)


@pytest.mark.soak
def test_hostile_layers(fuzzed: Path) -> None:
    def search(place: Place) -> None:
        @seed(SEED)
        @settings(
            max_examples=amount(800, 100),
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(described=layers)
        def example(described: Any) -> None:
            extract_any(place, archive_of(place, described))

        example()

    run_without_rights(fuzzed, search)


# --- bytes changed at random --------------------------------------------------------------------


def sound_layers() -> list[bytes]:
    """Return layers with an entry of each kind, in each format of tar."""
    image = image_from_layers(
        [
            {
                "a/b": b"1" * 600,
                "a/" + "n" * 120: LayerEntry(b"x", mtime=1.5, xattrs={"user.x": b"\0\xff"}),
                "l": LayerEntry.symlink("a"),
                "h": LayerEntry.hard_link("a/b"),
                "f": LayerEntry.fifo(),
                "d": LayerEntry.folder(mode=0o500),
            },
            {"a/b": LayerEntry.whiteout(), "d": LayerEntry.opaque(), "d/x": b""},
        ]
    )
    ours = [b"".join(layer.stream()) for layer in image.layers]
    gnu = tar(
        member("n" * 150, uid=2**22),
        member("l", tarfile.SYMTYPE, "t" * 150),
        format=tarfile.GNU_FORMAT,
    )
    return [*ours, gnu]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return an archive with some bytes changed, removed, doubled or moved.

    Many changes are to numbers in a header, with a right checksum.
    """
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(changed))
        way = dice.random()
        if way < 0.2:
            changed[at] = dice.randrange(256)
        elif way < 0.3:
            changed[at] ^= 1 << dice.randrange(8)
        elif way < 0.4:
            del changed[at : at + dice.choice([1, 7, 512])]
        elif way < 0.5:
            changed[at:at] = changed[at - at % 512 : at - at % 512 + dice.choice([1, 512, 1024])]
        elif way < 0.9:
            at -= at % 512
            field, size = dice.choice(
                [
                    (0, 100),
                    (100, 8),
                    (108, 8),
                    (124, 12),
                    (136, 12),
                    (156, 1),
                    (157, 100),
                    (329, 8),
                    (345, 155),
                ]
            )
            choices = [
                b"\xff" * size,
                b"\x80" + b"\xff" * (size - 1),
                b"7" * size,
                b"\0" * size,
                b"../../outside/x",
                bytes(dice.randrange(256) for _ in range(size)).replace(b"/", b"_"),
                dice.choice([b"0", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S"]) * size,
            ]
            changed[at + field : at + field + size] = dice.choice(choices)[:size].ljust(size, b"\0")
            header = changed[at : at + 512]
            if len(header) == 512:
                header[148:156] = b" " * 8
                changed[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        if not changed:
            return b""
    return bytes(changed)


def run_mutations(folder: Path, number: int, make: Any) -> tuple[int, int]:
    """Extract mutations until the time is over; return how many were extracted and refused."""
    extracted, refused = run_without_rights(folder, lambda place: mutations(place, number, make))
    return extracted, refused


def mutations(place: Place, number: int, make: Any) -> tuple[int, int]:
    """Extract mutated archives with the rights of the calling user."""
    dice = random.Random(f"{SEED} {number}")
    counts = [0, 0]
    end = time.monotonic() + ALL_SECONDS
    for _ in range(amount(400, 120)):
        counts[extract_any(place, make(dice))] += 1
        if time.monotonic() > end:
            break
    return counts[1], counts[0]


@pytest.mark.soak
@pytest.mark.parametrize("number", range(3))
def test_changed_layers(fuzzed: Path, number: int) -> None:
    """Changed layers with right digests are extracted or refused."""
    sound = sound_layers()

    def make(dice: random.Random) -> bytes:
        described = list(sound)
        which = dice.randrange(len(described))
        described[which] = mutated(described[which], dice)
        return docker_archive(*described)

    extracted, refused = run_mutations(fuzzed, number, make)
    assert extracted > 20 and refused > 20, "it tries both"


@pytest.mark.soak
@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_changed_compression(fuzzed: Path, pack: str) -> None:
    layer = sound_layers()[0]
    packed = gz(layer) if pack == "gzip" else zstd.compress(layer)

    def make(dice: random.Random) -> bytes:
        layout = Layout()
        return layout.archive(layout.image((layer, mutated(packed, dice))))

    _, refused = run_mutations(fuzzed, 7, make)
    assert refused > 20


@pytest.mark.soak
@pytest.mark.parametrize("form", ["docker", "oci", "gzip"])
def test_changed_archives(fuzzed: Path, form: str) -> None:
    layout = Layout()
    sound = {
        "docker": docker_archive(*sound_layers()),
        "oci": layout.archive(layout.image(*sound_layers())),
        "gzip": gz(docker_archive(*sound_layers())),
    }[form]
    _, refused = run_mutations(fuzzed, 11, lambda dice: mutated(sound, dice))
    assert refused > 20


@pytest.mark.soak
@pytest.mark.parametrize("number", range(2))
def test_changed_manifests(fuzzed: Path, number: int) -> None:
    """Manifests with swapped JSON values and right digests are extracted or refused."""
    values: list[Any] = [None, 5, -1, "", "x", [], {}, [[]], {"a": []}, "sha256:" + "0" * 64, True]

    def mutate_value(value: Any, dice: random.Random) -> Any:
        if dice.random() < 0.08:
            return dice.choice(values)
        if isinstance(value, dict):
            return {key: mutate_value(x, dice) for key, x in value.items()}
        if isinstance(value, list):
            return [mutate_value(x, dice) for x in value] * dice.choice([1, 1, 1, 2])
        return value

    def make(dice: random.Random) -> bytes:
        layout = Layout()
        plain = layout.json
        layout.json = lambda value, kind, **more: plain(mutate_value(value, dice), kind, **more)  # type: ignore[method-assign]
        image = mutate_value(layout.image(tar("a"), Env=["A=B"], Cmd=["x"]), dice)
        return layout.archive(image)

    extracted, refused = run_mutations(fuzzed, number, make)
    assert extracted > 5 and refused > 20
