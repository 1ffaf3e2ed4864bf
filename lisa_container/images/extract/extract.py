"""`extract_image`: extract the root file system of an image's archive, without any engine."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lisa_container.archives import tar
from lisa_container.archives.tar import StreamSource, TarEntry, TarReader
from lisa_container.config import images
from lisa_container.images.digest import Digester, algorithm_of
from lisa_container.images.extract.budget import MAX_BYTES, MAX_ENTRIES, Budget
from lisa_container.images.extract.choose import choose_image
from lisa_container.images.extract.compression import decompressed
from lisa_container.images.extract.faults import Fault, faults_of
from lisa_container.images.extract.layer import apply_layer
from lisa_container.images.extract.new_folder import new_folder
from lisa_container.images.extract.result import ExtractedImage, settings_of
from lisa_container.images.extract.rootfs import Rootfs
from lisa_container.images.extract.store import Store, open_store
from lisa_container.images.extract.stored_image import StoredImage, StoredLayer


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

    The archive may be hostile: nothing is written outside of `rootfs`, nor more than the limits
    allow. On failure, nothing is left behind.

    Args:
        archive: a file of `docker save` or `podman save`, or an OCI layout as a tar or a folder.
            The tar and its layers may be compressed with gzip or zstd.
        rootfs: a folder that does not exist yet, or is empty.
        image: name of the image, where the archive has more than one.
        platform: such as `linux/arm64`, where the archive has more than one. Default: this
            machine's.
        max_bytes: most bytes of all layers together, uncompressed. 16 GiB by default.
        max_entries: most entries (files, folders and so on) of all layers. A million by default.
        skip_denied: leave out owners, devices and attributes that this user may not set or the file
            system cannot hold, and list them in the result's `skipped`.

    Raises:
        ConfigError: an argument is wrong.
        UnsafeArchiveError: an entry leads outside of `rootfs`.
        ArchiveLimitError: a limit is exceeded.
        ExtractDeniedError: this user may not make an entry, and `skip_denied` is not set.
        ImageArchiveError: the archive is malformed, damaged or lacks the image; `rootfs` is not
            empty; or the disk is full.
    """
    path, target = Path(archive), Path(rootfs)
    images.platform("platform", platform)
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
    packed = Digester(algorithm_of(layer.digest or "sha256:"))
    plain = Digester(algorithm_of(layer.diff_id))
    stream = packed.watch(store.chunks(layer.name))
    source = StreamSource(plain.watch(budget.limit(decompressed(stream))))
    apply_layer(rootfs, TarReader(source, takes_sparse=True), budget)
    source.drain()
    if layer.digest and packed.digest != layer.digest:
        raise Fault(
            f"layer '{layer.name}' has another digest than its manifest says: it is damaged"
        )
    if plain.digest != layer.diff_id:
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
