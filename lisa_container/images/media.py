"""The names of Docker's and OCI's formats, as both the maker and the reader of archives use them.

https://github.com/opencontainers/image-spec, media-types.md, image-layout.md, layer.md;
https://github.com/moby/docker-image-spec.
"""

from __future__ import annotations

import hashlib

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
"""Annotation of an image in an index: its tag, or its whole name."""
CONTAINERD_NAME = "io.containerd.image.name"
"""The same with the whole name, as Docker 25 and containerd write it."""

WHITEOUT = ".wh."
"""Begin of the name of a file that hides the file named behind it in the layers below."""
OPAQUE = ".wh..wh..opq"
"""A file of this name hides all that its folder has in the layers below."""

XATTR = "SCHILY.xattr."
"""Begin of the pax record of an extended attribute, as Go's archive/tar and star write it."""


def digest_of(content: bytes) -> str:
    """The digest by which both formats name it: `sha256:…` (image-spec, descriptor.md)."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
