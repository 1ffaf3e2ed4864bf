"""Choosing the credential for an image."""

from __future__ import annotations

from lisa_container.config import ImageReference
from lisa_container.config.current import current_settings
from lisa_container.engine.client import Engine
from lisa_container.images.credentials.credential import Credential
from lisa_container.images.credentials.sources import find_stored


def find_credential(engine: Engine, reference: ImageReference) -> Credential | None:
    """Return the runbook's credential for an image, or else one stored on the node or here.

    Raises:
        SshLostError: the node cannot be reached.
    """
    given = {each.host: each for each in current_settings().registries if each.username}
    for name in reference.prefixes:
        if name in given:
            return Credential("the runbook", given[name].username, given[name].password)
    return find_stored(engine, reference)
