"""Archive for an engine to load: as of `docker save`, without the layers that the engine has.

Docker (moby, image/tarexport/load.go) looks for a layer among its own, by its diff ID and those
below, before it opens the file. So does Podman (containers/image, docker/internal/tarfile), but it
requires that the file exists. So a layer that the engine has is an empty file. Both engines compare
the result with the diff IDs in the config: a layer that was removed meanwhile leads to an error and
never to a wrong image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable

from lisa_container.archives.pack import END, padding
from lisa_container.images.digest import digest_of
from lisa_container.images.layers import LayerEntry
from lisa_container.images.layers.tar import header
from lisa_container.images.media import DOCKER_MANIFEST_FILE
from lisa_container.images.send.pack import PackedLayer

_FILE = LayerEntry(mode=0o644)
# A layer may come as one large chunk; cut it, so that progress can be shown.
_PIECE = 256 * 1024


def load_archive(
    config: bytes,
    diff_ids: Sequence[str],
    sent: Mapping[str, PackedLayer],
    on_sent: Callable[[PackedLayer, int], object],
) -> Iterator[bytes]:
    """Yield an archive of one image without a name.

    Args:
        config: config of the image.
        diff_ids: diff IDs of all its layers, the lowest first.
        sent: layers in the archive, by diff ID; the engine has the others.
        on_sent: called after each piece of a layer, with the number of its bytes.
    """
    config_name = f"{digest_of(config)[7:]}.json"
    listed = {"Config": config_name, "Layers": [_name(each) for each in diff_ids]}
    small = {DOCKER_MANIFEST_FILE: json.dumps([listed]).encode(), config_name: config}
    for name, content in small.items():
        yield header(name, _FILE, len(content))
        yield content
        yield padding(len(content))
    # A layer that occurs twice is sent once.
    for diff_id in dict.fromkeys(diff_ids):
        packed = sent.get(diff_id)
        if packed is None:
            yield header(_name(diff_id), _FILE)
            continue
        yield header(_name(diff_id), _FILE, packed.size)
        for chunk in packed.chunks():
            for at in range(0, len(chunk), _PIECE):
                piece = chunk[at : at + _PIECE]
                yield piece
                on_sent(packed, len(piece))
        yield padding(packed.size)
    yield END


def _name(diff_id: str) -> str:
    return f"{diff_id.partition(':')[2]}.tar"
