"""Archives of `docker save`: a `manifest.json` has the paths of configs and layers."""

from __future__ import annotations

import re
from typing import Any

from lisa_container.images.digest import digest_of
from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.parse import (
    as_object,
    diff_ids,
    list_in,
    parse_json,
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
from lisa_container.images.media import DOCKER_MANIFEST_FILE
from lisa_container.images.platform import fits, own_platform

_HEX = re.compile(r"[0-9a-f]{64}")
_MOST_IMAGES = 500


def image_of_docker(store: Store, image: str, platform: str) -> StoredImage:
    """Choose the image of such an archive; see `choose_image`."""
    listed = parse_json(read_small(store, DOCKER_MANIFEST_FILE), DOCKER_MANIFEST_FILE)
    if not isinstance(listed, list) or not listed or len(listed) > _MOST_IMAGES:
        raise Fault(f"'{DOCKER_MANIFEST_FILE}' is no list of 1 to {_MOST_IMAGES} images")
    images = [_read_entry(store, as_object(each, DOCKER_MANIFEST_FILE)) for each in listed]
    named = [each for each in images if not image or is_called(image, each.names)]
    if not named:
        raise Fault(
            none_of("no image is called", image, [n for each in images for n in each.names])
        )
    if platform or len(named) > 1:
        fitting = [each for each in named if fits(each.platform, platform or own_platform())]
        if not fitting:
            platforms = [each.platform for each in named]
            raise Fault(none_of("no image is for platform", platform or own_platform(), platforms))
        named = fitting
    if len({each.digest for each in named}) > 1:
        raise Fault(which([name for each in named for name in each.names or (each.digest,)]))
    return named[0]


def _read_entry(store: Store, listed: dict[str, Any]) -> StoredImage:
    path = text_in(listed, "Config")
    content = read_small(store, path)
    digest = digest_of(content)
    # Docker names the file by its digest: <digits>.json, or blobs/sha256/<digits>.
    digits = path.rpartition("/")[2].removesuffix(".json")
    if _HEX.fullmatch(digits) and digest != f"sha256:{digits}":
        raise Fault(f"'{path}' has another digest than its name says: it is damaged")
    config = as_object(parse_json(content, path), path)
    layers = list_in(listed, "Layers")
    names = tuple(str(name) for name in listed.get("RepoTags") or ())
    stored = []
    for name, diff_id in zip(layers, diff_ids(config, len(layers))):
        if not isinstance(name, str):
            raise Fault(f"'{DOCKER_MANIFEST_FILE}' names a layer that is no path")
        if name not in store:
            raise Fault(f"layer '{name[:200]}' is missing in it")
        stored.append(StoredLayer(name, diff_id))
    return StoredImage(names, digest, digest, config, content, tuple(stored))
