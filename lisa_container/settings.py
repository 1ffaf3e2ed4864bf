"""The settings of a run in its runbook: a notifier of type `container_settings`.

    notifier:
      - type: container_settings
        registries:
          - host: registry.example.com:5000
            username: $(registry_user)
            password: $(registry_password)

A notifier, as LISA makes these before anything else of a runbook: before it logs the runbook, so
that no password is in there, and long before there is a node. LISA has no other place that is for
extensions and not for one platform or node.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from typing import Any, cast

from dataclasses_json import dataclass_json
from lisa import messages, notifier, schema, secret
from lisa.util import constants, field_metadata

from lisa_container.config.model import check_names
from lisa_container.config.settings import ContainerSettings
from lisa_container.errors import ConfigError

SETTINGS_TYPE = "container_settings"

_WHERE = f"runbook, notifier of type {SETTINGS_TYPE}"

_lock = threading.Lock()
_current = ContainerSettings()
# The run that the settings are of, as LISA names it.
_run_id = ""


def current_settings() -> ContainerSettings:
    """The settings in force."""
    return _current


def use_settings(settings: ContainerSettings) -> None:
    """Have settings in force from now on in this process; LISA masks their passwords in all it
    writes.

    Args:
        settings: instead of those before. `ContainerSettings()` is none.
    """
    global _current
    for each in settings.secrets:
        secret.add_secret(each)
    with _lock:
        _current = settings


@dataclass_json()
@dataclass
class ContainerSettingsSchema(schema.Notifier):
    """What stands below `type: container_settings`.

    The fields are those of `ContainerSettings`. They take any value, so that it can be said what is
    wrong with one.
    """

    registries: Any = field(default=None, metadata=field_metadata(allow_none=True))
    mirrors: Any = field(default=None, metadata=field_metadata(allow_none=True))


class ContainerSettingsNotifier(notifier.Notifier):
    """Puts the runbook's settings in force for the time of the run."""

    @classmethod
    def type_name(cls) -> str:
        return SETTINGS_TYPE

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        return ContainerSettingsSchema

    def finalize(self) -> None:
        """The run has ended: what comes in this process has none of them."""
        global _run_id
        _run_id = ""
        use_settings(ContainerSettings())

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        global _run_id
        runbook = cast(ContainerSettingsSchema, self.runbook)
        if constants.RUN_ID and _run_id == constants.RUN_ID:
            raise ConfigError(f"{_WHERE}: given twice; legal: one entry, with all settings")
        names = [each.name for each in fields(ContainerSettings)]
        try:
            # LISA's own message does not say which keys are legal.
            check_names(runbook.extended_schemas or {}, names)
        except ConfigError as error:
            raise ConfigError(f"{_WHERE}: {error}") from error
        mapping = {name: getattr(runbook, name) for name in names}
        folder = getattr(constants, "RUNBOOK_PATH", None)  # there is none where LISA is a library
        settings = ContainerSettings.from_mapping(mapping, _WHERE, folder)
        use_settings(settings)
        _run_id = constants.RUN_ID

    def _subscribed_message_type(self) -> list[type[messages.MessageBase]]:
        return []
