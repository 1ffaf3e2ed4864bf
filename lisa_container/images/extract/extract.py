"""`extract_image`: the root file system of an image's archive, without any engine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from lisa_container.config import images as names
from lisa_container.images.extract import tar
from lisa_container.images.extract.budget import MAX_BYTES, MAX_ENTRIES, Budget
from lisa_container.images.extract.choose import choose_image
from lisa_container.images.extract.compression import decompressed
from lisa_container.images.extract.faults import Fault, faults_of
from lisa_container.images.extract.layer import apply_layer
from lisa_container.images.extract.place import new_folder
from lisa_container.images.extract.result import ExtractedImage, settings_of
from lisa_container.images.extract.rootfs import Rootfs
from lisa_container.images.extract.source import StreamSource
from lisa_container.images.extract.store import Store, open_store
from lisa_container.images.extract.stored import StoredImage, StoredLayer
from lisa_container.images.extract.tar import TarEntry, TarReader


def extract_image(
    archive: str | Path,
    rootfs: str | Path,
    image: str = "",
    platform: str = "",
    max_bytes: int = MAX_BYTES,
    max_entries: int = MAX_ENTRIES,
    skip_denied: bool = False,
) -> ExtractedImage:
    """Extract the root file system of an image, as an engine would for a container.

        found = extract_image("image.tar", "rootfs")
        found.command, found.environment

    The archive may be hostile: nothing is written outside of `rootfs`, and no more than the caps
    allow. When this fails, nothing is left.

    Args:
        archive: what `docker save` or `podman save` wrote, or an OCI layout as a tar or a folder;
            the tar, and its layers, plain or compressed with gzip or zstd.
        rootfs: a folder that does not exist yet, or is empty.
        image: the name of the image, where the archive has more than one.
        platform: such as `linux/arm64`, where the archive has more than one; by default this
            machine's.
        max_bytes: how many all layers may have together, uncompressed. 16 GiB by default.
        max_entries: how many files, folders and so on they may have together. A million by default.
        skip_denied: leave out what this user (who is not root) may not make, and what the file
            system cannot hold: owners, devices, some attributes. The result's `skipped` has them.

    Raises:
        ConfigError: an argument is wrong.
        UnsafeArchiveError: an entry leads outside.
        ArchiveLimitError: there is too much.
        ExtractDeniedError: this user may not make something, and skip_denied is not set.
        ImageArchiveError: the archive is malformed or damaged, or has no such image; `rootfs` is
            not empty; the disk is full.
    """
    path, target = Path(archive), Path(rootfs)
    names.platform("platform", platform)
    budget, outer = Budget(max_bytes, max_entries), Budget(max_bytes, max_entries)
    with contextlib.ExitStack() as stack:
        stack.enter_context(faults_of(str(path)))
        folder, is_new = stack.enter_context(new_folder(target))
        store = stack.enter_context(open_store(path, target.parent, outer))
        chosen = choose_image(store, image, platform)
        settings = settings_of(chosen)
        made = Rootfs(folder, skip_denied)
        try:
            if is_new:
                made.make((), TarEntry(b"", tar.FOLDER, mode=0o755), (), ())
            for layer in chosen.layers:
                _apply(store, layer, made, budget)
            made.finish()
        finally:
            made.close()
        return _result(target, chosen, settings, made, budget)


def _apply(store: Store, layer: StoredLayer, rootfs: Rootfs, budget: Budget) -> None:
    size = store.size(layer.name)
    if layer.size not in (-1, size):
        raise Fault(f"layer '{layer.name}' has {size} bytes instead of {layer.size}")
    packed = _Digest(layer.digest or "sha256:")
    plain = _Digest(layer.diff_id)
    stream = packed.seen(store.chunks(layer.name))
    source = StreamSource(plain.seen(budget.counted(decompressed(stream))))
    apply_layer(rootfs, TarReader(source), budget)
    source.drain()
    if layer.digest and packed.text != layer.digest:
        raise Fault(
            f"layer '{layer.name}' has another digest than its manifest says: it is damaged"
        )
    if plain.text != layer.diff_id:
        raise Fault(f"layer '{layer.name}' has another digest than its config says: it is damaged")


def _result(
    target: Path, chosen: StoredImage, settings: dict[str, object], made: Rootfs, budget: Budget
) -> ExtractedImage:
    return ExtractedImage(
        rootfs=target,
        names=chosen.names,
        digest=chosen.digest,
        id=chosen.config_digest,
        platform=chosen.platform,
        layers=tuple(layer.diff_id for layer in chosen.layers),
        entries=budget.entries,
        bytes=budget.bytes,
        skipped=tuple(made.skipped),
        **settings,  # type: ignore[arg-type]
    )


class _Digest:
    """The digest of what passes by.

    Args:
        like: a digest of the algorithm to use.
    """

    def __init__(self, like: str) -> None:
        self._algorithm = like.partition(":")[0]
        self._hash = hashlib.new(self._algorithm)

    def seen(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    @property
    def text(self) -> str:
        """`algorithm:digits`."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"
