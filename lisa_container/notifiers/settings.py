"""Settings of a run in its runbook: a notifier of type `container_settings`.

    notifier:
      - type: container_settings
        registries:
          - host: registry.example.com:5000
            username: $(registry_user)
            password: $(registry_password)

LISA has no place in a runbook for settings of an extension. A notifier is used because LISA makes
notifiers first: before it logs the runbook, so that no password is logged, and before any node. So
nodes that do not answer or refuse the login are reported here within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, cast

from dataclasses_json import dataclass_json
from lisa import messages, notifier, schema
from lisa.util import constants, field_metadata
from lisa.util.shell import SshShell

from lisa_container.config.checks import check_names
from lisa_container.config.current import use_settings
from lisa_container.config.settings import ContainerSettings
from lisa_container.engine.reach import require_login
from lisa_container.engine.workers import Workers
from lisa_container.errors import ConfigError
from lisa_container.escaping import printable
from lisa_container.notifiers.runbook_nodes import find_runbook_nodes

SETTINGS_TYPE = "container_settings"

_WHERE = f"runbook, notifier of type {SETTINGS_TYPE}"

# LISA's id of the run that the settings belong to.
_run_id = ""


@dataclass_json()
@dataclass
class ContainerSettingsSchema(schema.Notifier):
    """Runbook of the notifier of type `container_settings`.

    The fields are those of `ContainerSettings`. They accept any value here, so that an error
    message can say what is wrong with a value.
    """

    registries: Any = field(default=None, metadata=field_metadata(allow_none=True))
    mirrors: Any = field(default=None, metadata=field_metadata(allow_none=True))
    keep_containers: Any = field(default=None, metadata=field_metadata(allow_none=True))
    start_engine: Any = field(default=None, metadata=field_metadata(allow_none=True))
    wait_for_nodes: Any = field(default=None, metadata=field_metadata(allow_none=True))


class ContainerSettingsNotifier(notifier.Notifier):
    """Notifier that puts the runbook's settings in force during the run."""

    @classmethod
    def type_name(cls) -> str:
        """Return the notifier's `type` in a runbook."""
        return SETTINGS_TYPE

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        """Return the schema of the notifier's runbook."""
        return ContainerSettingsSchema

    def finalize(self) -> None:
        """Remove the settings at the end of the run."""
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
            # LISA's message would not name the legal keys.
            check_names(runbook.extended_schemas or {}, names)
        except ConfigError as error:
            raise ConfigError(f"{_WHERE}: {error}") from error
        mapping = {name: getattr(runbook, name) for name in names}
        folder = getattr(constants, "RUNBOOK_PATH", None)  # set when LISA runs a runbook
        settings = ContainerSettings.from_mapping(mapping, _WHERE, folder)
        self._require_nodes(settings.wait_for_nodes)
        use_settings(settings)
        _run_id = constants.RUN_ID

    def _require_nodes(self, seconds: float) -> None:
        """Check that the runbook's nodes accept the login, before LISA waits for them for minutes.

        Raises:
            UnreachableError: A node does not answer, or refuses the login.
        """
        try:
            shells = [node.shell for node in find_runbook_nodes()]
        except Exception as error:  # LISA reads the runbook, too, and reports its mistakes
            self._log.debug(f"the runbook's nodes are not checked: {printable(error)}")
            return
        remote = [shell for shell in shells if isinstance(shell, SshShell)]
        workers = Workers(partial(require_login, seconds=seconds), "login")
        workers.add(remote, len(remote))
        workers.run()
        workers.raise_failure()

    def _subscribed_message_type(self) -> list[type[messages.MessageBase]]:
        return []
