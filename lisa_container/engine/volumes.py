"""Named volumes that come into being only because a container names them.

The engine would make them by itself, without a label, and they would stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import RUN_LABEL, run_id
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import EngineError

IMPLICIT_LABEL = "lisa_container.implicit"
"""On volumes that nobody made on purpose."""


def make_volumes(engine: Engine, names: Iterable[str]) -> None:
    """Make the named volumes that are not there, so that they are known as ours.

    Args:
        engine: of the node.
        names: of volumes; host paths among them are passed over.

    Raises:
        EngineError: the engine refused.
    """
    for name in _volumes(names):
        if _find(engine, name) is None:
            labels = {**Lease.of(engine).labels(), IMPLICIT_LABEL: "1"}
            with engine.errors():
                engine.api.create_volume(name, labels=labels)


def remove_volumes(engine: Engine, names: Iterable[str]) -> None:
    """Remove those volumes that `make_volumes` made in this run and that nobody uses any more.

    Args:
        engine: of the node.
        names: as given there.
    """
    for name in _volumes(names):
        try:
            labels = _find(engine, name) or {}
            if IMPLICIT_LABEL in labels and labels.get(RUN_LABEL) == run_id():
                with engine.errors():
                    engine.api.remove_volume(name)
        except EngineError as error:
            # In use by another container; the last one takes it along.
            engine.node.log.debug(str(error))


def _find(engine: Engine, name: str) -> dict[str, str] | None:
    """The labels of a volume, or None if there is no such volume."""
    with engine.errors():
        found = engine.api.volumes(filters={"name": name})["Volumes"] or []
    for volume in found:
        if volume["Name"] == name:
            return dict(volume.get("Labels") or {})
    return None


def _volumes(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("/")]
