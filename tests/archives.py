"""Archives of images made by hand, sound and hostile, and a place to extract them in
(`pytest_plugins = ["archives"]`)."""

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
# Of a contained process: one that turns in circles ends, and its test fails.
CPU_SECONDS = 120
OWN = {"architecture": "amd64", "os": "linux"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> Any:
    """A tar entry; `data=` is its content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    data = fields.pop("data", b"data" if kind == tarfile.REGTYPE else b"")
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(*members: Any, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar; a member may also be a bare name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for each in members:
            info, data = member(each) if isinstance(each, str) else each
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def config_of(layers: list[bytes], settings: Any = None, **more: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{sha(layer)}" for layer in layers]}
    return json.dumps({**OWN, "config": settings or {}, "rootfs": rootfs, **more}).encode()


def docker_archive(*layers: bytes, settings: Any = None, tags: Any = None, **more: Any) -> bytes:
    """As `docker save` of 20.10 writes it."""
    config = config_of(list(layers), settings, **more)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": f"{sha(config)}.json", "RepoTags": tags, "Layers": names}]
    return tar(
        member(f"{sha(config)}.json", data=config),
        *(member(name, data=layer) for name, layer in zip(names, layers)),
        member("manifest.json", data=json.dumps(listed).encode()),
    )


class Layout:
    """An OCI layout that is put together bit by bit."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Its descriptor."""
        self.files[f"blobs/sha256/{sha(data)}"] = data
        return {"mediaType": kind, "digest": f"sha256:{sha(data)}", "size": len(data), **more}

    def json(self, value: Any, kind: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), kind, **more)

    def image(self, *layers: Any, platform: Any = OWN, note: str = "", **settings: Any) -> Any:
        """An image of layers; a layer may be a pair: its plain and its packed form."""
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
        return {"schemaVersion": 2, "manifests": list(manifests)}

    def archive(self, *manifests: Any) -> bytes:
        self.files["index.json"] = json.dumps(self.index(*manifests)).encode()
        return tar(*(member(name, data=data) for name, data in self.files.items()))

    def write(self, folder: Path, *manifests: Any) -> None:
        self.archive(*manifests)
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def tree(root: Path, times: bool = True) -> dict[str, Any]:
    """All that can be seen of what is below a folder; hard links as the set of their names."""
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
    """A folder to extract in, and one beside it that nothing may be written to.

    All that is extracted is extracted in a process whose root is this folder; see `contained`.

    Args:
        root: an empty folder.
        is_there: it was made before, by another process.
    """

    def __init__(self, root: Path, is_there: bool = False) -> None:
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
        """What a path in the folder is called in a contained process."""
        return seen_from(self.root, path)

    def extract(self, archive: bytes, **options: Any) -> ExtractedImage:
        self.archive.write_bytes(archive)
        return self.extract_from(self.archive, **options)

    def extract_from(
        self, archive: Path, target: Path | None = None, **options: Any
    ) -> ExtractedImage:
        target = target or self.rootfs
        options.setdefault("skip_denied", not IS_ROOT)
        return extract_contained(self.root, archive, target, **options)

    def assert_untouched(self) -> None:
        """Nothing is outside, and nothing is left."""
        assert tree(self.outside) == self.before
        assert self.there() == ["neighbour"]

    def there(self) -> list[str]:
        """What is in the folder of the root file system."""
        return sorted(path.name for path in self.work.iterdir())

    def refuses(
        self, archive: bytes, words: str, error: type[Exception] = ImageArchiveError, **options: Any
    ) -> str:
        with pytest.raises(error, match=words) as caught:
            self.extract(archive, **options)
        self.assert_untouched()
        assert str(self.inside(self.archive)) in str(caught.value)
        return str(caught.value)

    def names(self) -> list[str]:
        return sorted(tree(self.rootfs))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    assert tree(made.outside) == made.before


# --- containment ----------------------------------------------------------------------------------
#
# A test of a protection must be harmless where the protection is broken: somebody takes it out to
# see the test fail, and the tests run as root. So nothing is extracted in the test's own process.


def contained(root: Path, work: Callable[[], Any], has_rights: bool = True) -> Any:
    """What something gives in a process that sees nothing of this machine but one folder.

    Args:
        root: the folder; it is the process' `/`, where this one's user is root, and its working
            directory in any case.
        work: gives what can be pickled; what it raises is raised here.
        has_rights: it stays root; else it is nobody.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _contained_child(root, work, has_rights, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    assert said, "the contained process ended early"
    kind, value, *more = pickle.loads(said)
    if kind == "gave":
        return value
    error_class = getattr(errors, value, None) or getattr(builtins, value, AssertionError)
    error = error_class.__new__(error_class)
    BaseException.__init__(error, more[0])
    if not isinstance(error, errors.ContainerError):
        print(more[1])
    raise error


def _contained_child(root: Path, work: Callable[[], Any], has_rights: bool, writer: int) -> None:
    """Never comes back."""
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
            said: tuple[Any, ...] = "gave", work()
        except BaseException as error:
            said = "raised", type(error).__name__, str(error), traceback.format_exc()
        if said[0] == "gave" or said[1] != "KeyboardInterrupt":
            assert _open_descriptors() == before, "something stayed open"
    except BaseException as error:
        said = "raised", "AssertionError", f"containment: {error!r}", traceback.format_exc()
    try:
        with os.fdopen(writer, "wb") as file:
            pickle.dump(said, file)
    finally:
        os._exit(0)


def _open_descriptors() -> list[int]:
    found = []
    for number in range(256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def seen_from(root: Path, path: Path) -> Path:
    """What a path below a folder is called in a process contained there."""
    return Path("/") / path.relative_to(root) if IS_ROOT else path


def extract_contained(root: Path, archive: Path, target: Path, **options: Any) -> ExtractedImage:
    """`extract_image` in a process contained in `root`; archive and target are below that."""
    packed, unpacked = seen_from(root, archive), seen_from(root, target)
    found = contained(root, lambda: extract_image(packed, unpacked, **options))
    return dataclasses.replace(found, rootfs=target)
