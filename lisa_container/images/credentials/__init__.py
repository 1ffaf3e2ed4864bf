"""Who asks a registry: credentials of an argument, the runbook, the node or this machine."""

from lisa_container.images.credentials.credential import Credential
from lisa_container.images.credentials.find import find_credential

__all__ = ["Credential", "find_credential"]
