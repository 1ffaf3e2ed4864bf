"""Credentials for registries: of the runbook, of the node's users, or of this machine's user."""

from lisa_container.images.credentials.credential import Credential
from lisa_container.images.credentials.find import find_credential

__all__ = ["Credential", "find_credential"]
