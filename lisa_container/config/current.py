"""The settings of a run that are in force in this process."""

from __future__ import annotations

import threading

from lisa_container.config.settings import ContainerSettings
from lisa_container.masking import protect

_lock = threading.Lock()
_current = ContainerSettings()


def current_settings() -> ContainerSettings:
    """Return the settings in force."""
    return _current


def use_settings(settings: ContainerSettings) -> None:
    """Put settings in force in this process; LISA masks their passwords in all it writes.

    Args:
        settings: Replace the settings before; `ContainerSettings()` removes them.
    """
    global _current
    protect(settings.secrets)
    with _lock:
        _current = settings
