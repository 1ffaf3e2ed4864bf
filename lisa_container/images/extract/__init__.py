"""Extracting the root file system from an image's archive, without any engine."""

from __future__ import annotations

from lisa_container.images.extract.extract import extract_image
from lisa_container.images.extract.result import ExtractedImage

__all__ = ["ExtractedImage", "extract_image"]
