"""The config's fields as fields of a LISA schema, so that they stand beside LISA's own in YAML.

    @dataclass_json()
    @dataclass
    class ContainerNodeSchema(schema.GuestNode, ConfigFields):
        type: str = "container"

        def __post_init__(self, *args: Any, **kwargs: Any) -> None:
            self.config = self.to_config("runbook, guest of type container")

LISA rejects the keys of a guest that its schema does not declare, so the schema must have each
field. It can not inherit them from `ContainerTestConfig`: a schema changes, a config is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from dataclasses_json import dataclass_json
from lisa.util import field_metadata

from lisa_container.config.model import ContainerTestConfig, check_names
from lisa_container.errors import ConfigError

_NAMES = [each.name for each in fields(ContainerTestConfig)]


class ConfigFields:
    """Base of a schema: every field of `ContainerTestConfig`, None when it is not named.

    The fields take any value, so that `to_config` can say what is wrong with it.
    """

    def to_config(self, where: str) -> ContainerTestConfig:
        """The config that the fields describe; `where` opens every error's message.

        Keys that the schema does not know are refused here, as LISA's own message does not say
        which ones are legal.
        """
        # The rest of the keys, in a schema that is a `lisa.schema.ExtendableSchemaMixin`.
        rest = "extended_schemas"
        legal = [each.name for each in fields(self) if each.name != rest]  # type: ignore[arg-type]
        try:
            check_names(getattr(self, rest, None) or {}, legal)
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from e
        return ContainerTestConfig.from_mapping({n: getattr(self, n) for n in _NAMES}, where)


# Written out here, the list would be a second one to keep in step.
ConfigFields.__annotations__ = dict.fromkeys(_NAMES, Any)
for _name in _NAMES:
    setattr(ConfigFields, _name, field(default=None, metadata=field_metadata(allow_none=True)))
dataclass_json(dataclass(ConfigFields))
