"""Names in the formats of Docker and OCI, for the code that makes archives and that reads them.

https://github.com/opencontainers/image-spec, media-types.md, image-layout.md, layer.md;
https://github.com/moby/docker-image-spec.
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

OCI_LAYOUT_FILE = "oci-layout"
OCI_INDEX_FILE = "index.json"
DOCKER_MANIFEST_FILE = "manifest.json"
BLOBS = "blobs"

OCI_NAME = "org.opencontainers.image.ref.name"
"""Annotation in an index: an image's tag, or its whole name."""
CONTAINERD_NAME = "io.containerd.image.name"
"""Annotation in an index with an image's whole name, as Docker 25 and containerd write it."""

WHITEOUT = ".wh."
"""Prefix of a file's name that hides the rest of the name in the layers below."""
OPAQUE = ".wh..wh..opq"
"""Name of a file that hides all that its folder has in the layers below."""
