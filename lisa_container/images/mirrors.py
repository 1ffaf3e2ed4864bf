"""Where an image is pulled from instead of its own registry, by the settings of the run."""

from __future__ import annotations

from lisa_container.images.names import prefixes, with_registry
from lisa_container.settings import current_settings


def mirrored(reference: str) -> str:
    """The name by which an image is pulled from its mirror; empty where it has none.

    Args:
        reference: its own full name, with tag or digest.
    """
    name = with_registry(reference)
    targets = {rule.source: rule.target for rule in current_settings().mirrors}
    for prefix in prefixes(name):
        if prefix in targets:
            return targets[prefix] + name[len(prefix) :]
    return ""
