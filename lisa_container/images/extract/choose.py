"""Choosing the image of an archive, in either format."""

from __future__ import annotations

from lisa_container.images.extract.docker import image_of_docker
from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.oci import image_of_index
from lisa_container.images.extract.store import Store
from lisa_container.images.extract.stored_image import StoredImage
from lisa_container.images.media import DOCKER_MANIFEST_FILE, OCI_INDEX_FILE

_EXPORT_HINT = (
    "it has neither an index.json (OCI) nor a manifest.json (docker save). An archive of 'docker "
    "export' is a bare file system: tar unpacks it"
)


def choose_image(store: Store, image: str, platform: str) -> StoredImage:
    """Return the image of an archive that has the name and platform.

    Args:
        store: the archive's files.
        image: name of the image in the archive; empty where the archive has only one.
        platform: `os/architecture[/variant]`; empty for this machine's, if there is a choice.

    Raises:
        Fault: no image matches, or more than one does; or the archive is malformed.
    """
    if OCI_INDEX_FILE in store:
        return image_of_index(store, image, platform)
    if DOCKER_MANIFEST_FILE in store:
        return image_of_docker(store, image, platform)
    if "repositories" in store:
        raise Fault(
            "it was made by a Docker before 1.10: load it into a current Docker and save it again"
        )
    raise Fault(_EXPORT_HINT)
