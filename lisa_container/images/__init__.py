"""Images: getting the one a config asks for onto the node."""

from __future__ import annotations

from lisa_container.images.ensure import ensure_image, with_image
from lisa_container.images.pull import pull_image

__all__ = ["ensure_image", "pull_image", "with_image"]
