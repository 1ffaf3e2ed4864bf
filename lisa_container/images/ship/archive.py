"""The archive that an engine loads: that of `docker save`, without the layers that it has.

Docker (moby, image/tarexport/load.go) looks for each layer among its own, by its diff ID and those
below, before it opens the file; Podman (containers/image, docker/internal/tarfile) does as well,
but wants to see a file of that name. So a layer that is there already is an empty file. Both see
that what they have put together has the diff IDs of the config, so that a layer that has gone
meanwhile is an error and never a wrong image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable

from lisa_container.images.layers import LayerEntry
from lisa_container.images.layers.tar import END, header, padding
from lisa_container.images.media import DOCKER_MANIFEST_FILE, digest_of
from lisa_container.images.ship.pack import PackedLayer

_FILE = LayerEntry(mode=0o644)
# A layer of ours may come as one chunk; whoever watches wants to hear of it meanwhile.
_PIECE = 256 * 1024


def load_archive(
    config: bytes,
    diff_ids: Sequence[str],
    sent: Mapping[str, PackedLayer],
    on_sent: Callable[[PackedLayer, int], object],
) -> Iterator[bytes]:
    """An archive of one image without a name, a piece at a time.

    Args:
        config: of the image.
        diff_ids: of its layers, the lowest first.
        sent: by diff ID; the others the engine has.
        on_sent: called behind each piece of a layer, with its bytes.
    """
    config_name = f"{digest_of(config)[7:]}.json"
    listed = {"Config": config_name, "Layers": [_name(each) for each in diff_ids]}
    small = {DOCKER_MANIFEST_FILE: json.dumps([listed]).encode(), config_name: config}
    for name, content in small.items():
        yield header(name, _FILE, len(content))
        yield content
        yield padding(len(content))
    # One that is there twice is sent once.
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
