"""`ConfigFields`: the config's fields in a LISA schema, beside LISA's own fields in YAML.

    @dataclass_json()
    @dataclass
    class ContainerGuestSchema(schema.GuestNode, ConfigFields):
        type: str = "container"

        def __post_init__(self, *args: Any, **kwargs: Any) -> None:
            self.config = self.to_config("runbook, guest of type container")

LISA rejects keys that a guest's schema does not declare, so the schema must have each field. It
cannot inherit them from `ContainerTestConfig`, because a schema is mutable and a config is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from dataclasses_json import dataclass_json
from lisa.util import field_metadata

from lisa_container.config.checks import check_names
from lisa_container.config.model import ContainerTestConfig
from lisa_container.errors import ConfigError

_NAMES = [each.name for each in fields(ContainerTestConfig)]


class ConfigFields:
    """Base of a schema: every field of `ContainerTestConfig`, None where it is not given.

    The fields accept any value; `to_config` reports what is wrong with it.
    """

    def to_config(self, where: str) -> ContainerTestConfig:
        """Return the config that the fields describe.

        Unknown keys are refused here, because LISA's own message does not list the legal ones.

        Args:
            where: first words of every error's message.

        Raises:
            ConfigError: a key or a value is wrong.
        """
        # The unknown keys, in a schema that is a `lisa.schema.ExtendableSchemaMixin`.
        rest = "extended_schemas"
        legal = [each.name for each in fields(self) if each.name != rest]  # type: ignore[arg-type]
        try:
            check_names(getattr(self, rest, None) or {}, legal)
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from e
        return ContainerTestConfig.from_mapping({n: getattr(self, n) for n in _NAMES}, where)


# Taken from the config's fields, so that no second list must be kept in step.
ConfigFields.__annotations__ = dict.fromkeys(_NAMES, Any)
for _name in _NAMES:
    setattr(ConfigFields, _name, field(default=None, metadata=field_metadata(allow_none=True)))
dataclass_json(dataclass(ConfigFields))
