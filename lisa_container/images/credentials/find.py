"""Which credential is used for an image."""

from __future__ import annotations

from lisa_container.engine.client import Engine
from lisa_container.images.credentials.credential import Credential
from lisa_container.images.credentials.sources import find_stored
from lisa_container.images.names import prefixes
from lisa_container.settings import current_settings


def find_credential(engine: Engine, repository: str) -> Credential | None:
    """The credential for an image: the runbook's, else one that is stored on the node or here.

    Args:
        engine: of the node.
        repository: full name without tag.

    Raises:
        SshLostError: the node cannot be reached.
    """
    given = {each.host: each for each in current_settings().registries if each.username}
    for name in prefixes(repository):
        if name in given:
            return Credential("the runbook", given[name].username, given[name].password)
    return find_stored(engine, repository)
