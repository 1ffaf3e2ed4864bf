"""Extract an image's archive: python -m lisa_container.microvm.image.unpack ARCHIVE FOLDER.

A program of its own, because it runs in namespaces where an ordinary user may set owners.
"""

from __future__ import annotations

import sys

from lisa_container.errors import ContainerError
from lisa_container.images.extract import extract_image

if __name__ == "__main__":
    try:
        extract_image(sys.argv[1], sys.argv[2])
    except ContainerError as error:
        sys.exit(str(error))
