"""OCI layouts: an index lists manifests, or further indexes (a manifest list of Docker)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lisa_container.images.digest import algorithm_of, digest_of
from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.parse import (
    as_object,
    blob_name,
    diff_ids,
    list_in,
    parse_json,
    size_in,
    text_in,
)
from lisa_container.images.extract.store import Store, read_small
from lisa_container.images.extract.stored_image import (
    StoredImage,
    StoredLayer,
    is_called,
    none_of,
    which,
)
from lisa_container.images.media import (
    CONTAINERD_NAME,
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_INDEX_FILE,
    OCI_MANIFEST,
    OCI_NAME,
)
from lisa_container.images.platform import fits, own_platform, platform_of

# Depth of indexes in indexes; real images have at most three.
_MOST_DEPTH = 4
_MOST_MANIFESTS = 500
# Annotation of BuildKit for an attestation: a manifest about an image that is no image itself.
_ABOUT = "vnd.docker.reference.type"
_NO_PLATFORM = "unknown/unknown"


@dataclass
class _Candidate:
    """Manifest in an index that may be the wanted image."""

    names: tuple[str, ...]
    platform: str
    described: dict[str, Any]


def image_of_index(store: Store, image: str, platform: str) -> StoredImage:
    """Choose the image of such an archive; see `choose_image`."""
    index = as_object(parse_json(read_small(store, OCI_INDEX_FILE), OCI_INDEX_FILE), OCI_INDEX_FILE)
    found = list(_candidates(store, index))
    named = [each for each in found if not image or is_called(image, each.names)]
    if not named:
        raise Fault(none_of("no image is called", image, [n for each in found for n in each.names]))
    manifests: dict[str, _Candidate] = {}
    for each in named:
        first = manifests.setdefault(text_in(each.described, "digest"), each)
        first.names = tuple(dict.fromkeys((*first.names, *each.names)))
    if len(manifests) > 1:
        images = {key: each for key, each in manifests.items() if _may_be_image(store, each)}
        manifests = images or manifests
    if platform or len(manifests) > 1:
        wanted = platform or own_platform()
        for each in manifests.values():
            each.platform = each.platform or _read_manifest(store, each).platform
        fitting = {key: each for key, each in manifests.items() if fits(each.platform, wanted)}
        if not fitting:
            platforms = [each.platform for each in manifests.values()]
            raise Fault(none_of("no image is for platform", wanted, platforms))
        manifests = fitting
    if len(manifests) > 1:
        raise Fault(which([name for each in manifests.values() for name in each.names]))
    return _read_manifest(store, next(iter(manifests.values())))


def _candidates(store: Store, index: dict[str, Any]) -> Iterator[_Candidate]:
    """Yield the manifests of an index and of the indexes in it, up to a limit."""
    waiting: list[tuple[dict[str, Any], tuple[str, ...], int]] = [(index, (), 1)]
    count = 0
    while waiting:
        index, names, depth = waiting.pop(0)
        if depth > _MOST_DEPTH:
            raise Fault(f"it has indexes in indexes, more than {_MOST_DEPTH} deep")
        for each in list_in(index, "manifests"):
            count += 1
            if count > _MOST_MANIFESTS:
                raise Fault(f"it has more than {_MOST_MANIFESTS} manifests")
            described = as_object(each, "manifests of an index")
            notes = as_object(described.get("annotations") or {}, "annotations")
            given = [notes[key] for key in (CONTAINERD_NAME, OCI_NAME) if key in notes]
            own = tuple(str(name) for name in given) or names
            platform = platform_of(as_object(described.get("platform") or {}, "platform"))
            if _ABOUT in notes or platform == _NO_PLATFORM:
                continue
            kind = described.get("mediaType")
            if kind in (OCI_INDEX, DOCKER_LIST):
                inner = as_object(parse_json(_read_blob(store, described), "an index"), "an index")
                waiting.append((inner, own, depth + 1))
            elif kind in (OCI_MANIFEST, DOCKER_MANIFEST, None):
                yield _Candidate(own, platform, described)


def _may_be_image(store: Store, candidate: _Candidate) -> bool:
    """Tell whether a manifest is an image, unlike a signature or another artifact beside it."""
    if candidate.platform:
        return True
    if candidate.described.get("artifactType"):
        return False
    try:
        manifest = parse_json(_read_blob(store, candidate.described), "a manifest")
        config = as_object(as_object(manifest, "a manifest").get("config"), "config")
        layers = [as_object(each, "layers") for each in list_in(manifest, "layers")]
    except Fault:
        return True  # its fault is told if it is chosen
    kinds = [str(each.get("mediaType", "")) for each in layers]
    return (
        not manifest.get("artifactType")
        and config.get("mediaType", OCI_CONFIG) in (OCI_CONFIG, DOCKER_CONFIG)
        and all("tar" in kind for kind in kinds)
    )


def _read_manifest(store: Store, candidate: _Candidate) -> StoredImage:
    content = _read_blob(store, candidate.described)
    manifest = as_object(parse_json(content, "a manifest"), "a manifest")
    if manifest.get("schemaVersion") == 1:
        raise Fault("its manifest is of schema 1, which current engines cannot read: save it again")
    described = as_object(manifest.get("config"), "config of a manifest")
    kind = described.get("mediaType", OCI_CONFIG)
    if kind not in (OCI_CONFIG, DOCKER_CONFIG):
        raise Fault(f"it is no image but an artifact of type '{kind}'")
    config_bytes = _read_blob(store, described)
    config = as_object(parse_json(config_bytes, "a config"), "a config")
    layers = [as_object(each, "layers of a manifest") for each in list_in(manifest, "layers")]
    stored = tuple(
        StoredLayer(_layer_name(store, layer), diff_id, text_in(layer, "digest"), size_in(layer))
        for layer, diff_id in zip(layers, diff_ids(config, len(layers)))
    )
    digest, config_digest = text_in(candidate.described, "digest"), text_in(described, "digest")
    return StoredImage(candidate.names, digest, config_digest, config, config_bytes, stored)


def _layer_name(store: Store, described: dict[str, Any]) -> str:
    kind = str(described.get("mediaType", ""))
    if "encrypted" in kind or "tar" not in kind:
        raise Fault(f"a layer is of type '{kind}'; legal: a tar, compressed or not")
    name = blob_name(text_in(described, "digest"))
    if name not in store:
        hint = ": it can only be downloaded" if described.get("urls") else ""
        raise Fault(f"layer '{name}' is missing in it{hint}")
    return name


def _read_blob(store: Store, described: dict[str, Any]) -> bytes:
    """Read a small blob, and check it against its descriptor."""
    digest, size = text_in(described, "digest"), size_in(described)
    content = read_small(store, blob_name(digest))
    if len(content) != size:
        raise Fault(f"blob {digest} has {len(content)} bytes instead of {size}")
    if digest_of(content, algorithm_of(digest)) != digest:
        raise Fault(f"blob {digest} has another digest: it is damaged")
    return content
