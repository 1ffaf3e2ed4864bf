"""Hand-made archives of images, valid and hostile, and a place to extract them.

Use `pytest_plugins = ["tests.support.archives"]`.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import resource
import stat
import tarfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lisa_container import errors
from lisa_container.errors import ImageArchiveError
from lisa_container.images import ExtractedImage, extract_image

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
# Seconds of CPU time of a contained process, so that an endless loop fails its test.
CPU_SECONDS = 120
OWN = {"architecture": "amd64", "os": "linux"}


def sha(data: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> Any:
    """Return an entry of a tar; `data=` is its content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    data = fields.pop("data", b"data" if kind == tarfile.REGTYPE else b"")
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(*members: Any, format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar; a member may be a name only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for each in members:
            info, data = member(each) if isinstance(each, str) else each
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def config_of(layers: list[bytes], settings: Any = None, **more: Any) -> bytes:
    """Return the config of an image with these layers."""
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{sha(layer)}" for layer in layers]}
    return json.dumps({**OWN, "config": settings or {}, "rootfs": rootfs, **more}).encode()


def docker_archive(*layers: bytes, settings: Any = None, tags: Any = None, **more: Any) -> bytes:
    """Return an archive in the format of `docker save` 20.10."""
    config = config_of(list(layers), settings, **more)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": f"{sha(config)}.json", "RepoTags": tags, "Layers": names}]
    return tar(
        member(f"{sha(config)}.json", data=config),
        *(member(name, data=layer) for name, layer in zip(names, layers)),
        member("manifest.json", data=json.dumps(listed).encode()),
    )


class Layout:
    """OCI layout that is built blob by blob."""

    def __init__(self) -> None:
        """Start without blobs."""
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Add a blob; return its descriptor."""
        self.files[f"blobs/sha256/{sha(data)}"] = data
        return {"mediaType": kind, "digest": f"sha256:{sha(data)}", "size": len(data), **more}

    def json(self, value: Any, kind: str, **more: Any) -> dict[str, Any]:
        """Add a value as a JSON blob; return its descriptor."""
        return self.blob(json.dumps(value).encode(), kind, **more)

    def image(self, *layers: Any, platform: Any = OWN, note: str = "", **settings: Any) -> Any:
        """Add an image; a layer may be a pair of its plain and packed form."""
        pairs = [layer if isinstance(layer, tuple) else (layer, layer) for layer in layers]
        kind = "application/vnd.oci.image"
        config = config_of([plain for plain, _ in pairs], settings, **platform)
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(config, f"{kind}.config.v1+json"),
            "layers": [self.blob(packed, f"{kind}.layer.v1.tar") for _, packed in pairs],
        }
        notes = {"annotations": {"org.opencontainers.image.ref.name": note}} if note else {}
        return self.json(manifest, f"{kind}.manifest.v1+json", platform=platform, **notes)

    def index(self, *manifests: Any) -> dict[str, Any]:
        """Add an index of manifests; return its descriptor."""
        return {"schemaVersion": 2, "manifests": list(manifests)}

    def archive(self, *manifests: Any) -> bytes:
        """Return the layout as a tar."""
        self.files["index.json"] = json.dumps(self.index(*manifests)).encode()
        return tar(*(member(name, data=data) for name, data in self.files.items()))

    def write(self, folder: Path, *manifests: Any) -> None:
        """Write the layout to a folder."""
        self.archive(*manifests)
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def gz(data: bytes) -> bytes:
    """Compress bytes with gzip."""
    return gzip.compress(data, mtime=0)


def tree(root: Path, times: bool = True) -> dict[str, Any]:
    """Describe the content of a folder with all attributes; hard links as sets of names."""
    found: dict[str, Any] = {}
    inodes: dict[tuple[int, int], set[str]] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder) / name
            status = path.lstat()
            short = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
            kind = stat.S_IFMT(status.st_mode)
            item: dict[str, Any] = {
                "kind": kind,
                "mode": oct(stat.S_IMODE(status.st_mode)),
                "owner": (status.st_uid, status.st_gid),
                "xattrs": {
                    key: os.getxattr(path, key, follow_symlinks=False)
                    for key in os.listxattr(path, follow_symlinks=False)
                },
            }
            if times:
                item["mtime"] = status.st_mtime_ns
            if kind == stat.S_IFLNK:
                item["link"] = os.fsencode(os.readlink(path))  # noqa: PTH115  # pathlib drops a slash
            elif kind == stat.S_IFREG:
                item["content"] = (status.st_size, sha(path.read_bytes()))
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                item["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
            if kind != stat.S_IFDIR and status.st_nlink > 1:
                names = inodes.setdefault((status.st_dev, status.st_ino), set())
                names.add(short)
                item["hard links"] = names
            found[short] = item
    return found


class Place:
    """Folder to extract in, with a folder beside it that must stay unchanged.

    Archives are extracted in a process whose root is this folder; see `contained`.

    Args:
        root: an empty folder.
        is_there: another process has already made the place.
    """

    def __init__(self, root: Path, is_there: bool = False) -> None:
        """Make the folders."""
        self.root = root
        self.work = root / "work"
        self.rootfs = self.work / "rootfs"
        self.outside = root / "outside"
        if not is_there:
            self.work.mkdir()
            (self.outside / "folder").mkdir(parents=True)
            (self.outside / "file").write_text("untouched")
            (self.work / "neighbour").write_text("untouched")
        self.archive = root / "image.tar"
        self.before = tree(self.outside)

    def inside(self, path: Path) -> Path:
        """Return a path as a contained process sees it."""
        return seen_from(self.root, path)

    def extract(self, archive: bytes, **options: Any) -> ExtractedImage:
        """Extract an archive's bytes in a contained process."""
        self.archive.write_bytes(archive)
        return self.extract_from(self.archive, **options)

    def extract_from(
        self, archive: Path, target: Path | None = None, **options: Any
    ) -> ExtractedImage:
        """Extract an archive's file in a contained process."""
        target = target or self.rootfs
        options.setdefault("skip_denied", not IS_ROOT)
        return extract_contained(self.root, archive, target, **options)

    def assert_untouched(self) -> None:
        """Check that nothing was written outside, and nothing is left behind."""
        assert tree(self.outside) == self.before
        assert self.there() == ["neighbour"]

    def there(self) -> list[str]:
        """List the folder in which the root file system is made."""
        return sorted(path.name for path in self.work.iterdir())

    def refuses(
        self, archive: bytes, words: str, error: type[Exception] = ImageArchiveError, **options: Any
    ) -> str:
        """Check that extraction fails with this error, changes nothing and names the archive."""
        with pytest.raises(error, match=words) as caught:
            self.extract(archive, **options)
        self.assert_untouched()
        assert str(self.inside(self.archive)) in str(caught.value)
        return str(caught.value)

    def names(self) -> list[str]:
        """List the extracted paths."""
        return sorted(tree(self.rootfs))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a place to extract in; check at the end that nothing outside was changed."""
    made = Place(tmp_path)
    yield made
    assert tree(made.outside) == made.before


# --- containment ----------------------------------------------------------------------------------
#
# A test of a protection must be harmless without the protection, since developers remove it to see
# the test fail, and tests run as root. So nothing is extracted in the test's own process.


def contained(root: Path, work: Callable[[], Any], has_rights: bool = True) -> Any:
    """Do work in a process that sees only one folder of this machine; return the result.

    Args:
        root: the folder; it is the working directory of the process and, under root, its `/`.
        work: returns an object that can be pickled; its exceptions are raised here.
        has_rights: stay root; otherwise become the user `nobody`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _contained_child(root, work, has_rights, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    assert data, "the contained process ended early"
    kind, value, *more = pickle.loads(data)
    if kind == "returned":
        return value
    error_class = getattr(errors, value, None) or getattr(builtins, value, AssertionError)
    error = error_class.__new__(error_class)
    BaseException.__init__(error, more[0])
    if not isinstance(error, errors.ContainerError):
        print(more[1])
    raise error


def _contained_child(root: Path, work: Callable[[], Any], has_rights: bool, writer: int) -> None:
    """Do the work, write its pickled result or error to `writer`, and exit."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        if IS_ROOT:
            os.chroot(root)
        os.chdir("/" if IS_ROOT else root)
        if IS_ROOT and not has_rights:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        before = _open_descriptors()
        try:
            outcome: tuple[Any, ...] = "returned", work()
        except BaseException as error:
            outcome = "raised", type(error).__name__, str(error), traceback.format_exc()
        if outcome[0] == "returned" or outcome[1] != "KeyboardInterrupt":
            # Fewer may be open: what the test process had may be collected here.
            assert set(_open_descriptors()) <= set(before), "something stayed open"
    except BaseException as error:
        outcome = "raised", "AssertionError", f"containment: {error!r}", traceback.format_exc()
    try:
        with os.fdopen(writer, "wb") as file:
            pickle.dump(outcome, file)
    finally:
        os._exit(0)


def _open_descriptors() -> list[int]:
    numbers = []
    for number in range(256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            numbers.append(number)
    return numbers


def seen_from(root: Path, path: Path) -> Path:
    """Return a path below a folder as a process contained there sees it."""
    return Path("/") / path.relative_to(root) if IS_ROOT else path


def extract_contained(root: Path, archive: Path, target: Path, **options: Any) -> ExtractedImage:
    """Run `extract_image` in a process contained in `root`, which has archive and target."""
    packed, unpacked = seen_from(root, archive), seen_from(root, target)
    image = contained(root, lambda: extract_image(packed, unpacked, **options))
    return dataclasses.replace(image, rootfs=target)
