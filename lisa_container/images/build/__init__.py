"""Building images on a node from a Dockerfile, once for the same input."""

from __future__ import annotations

from lisa_container.images.build.build import build_image, built_config

__all__ = ["build_image", "built_config"]
