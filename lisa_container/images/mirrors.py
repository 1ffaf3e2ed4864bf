"""The mirror that an image is pulled from instead of its own registry, by the run's settings."""

from __future__ import annotations

from lisa_container.config import ImageReference
from lisa_container.config.current import current_settings


def mirrored(reference: ImageReference) -> ImageReference | None:
    """Return the name by which an image is pulled from its mirror, or None if it has no mirror."""
    targets = {rule.source: rule.target for rule in current_settings().mirrors}
    for prefix in reference.prefixes:
        if prefix in targets:
            rest = str(reference.full)[len(prefix) :]
            return ImageReference.parse(f"{targets[prefix]}{rest}")
    return None
