"""Factory of containers, for tests and fixtures that need several, or one of a wider scope."""

from __future__ import annotations

from typing import Any, Callable

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.container.parallel import stop_all
from lisa_container.executor import ContainerExecutor


class ContainerFactory:
    """Function that starts a container, which the factory removes at its own end.

    Args:
        node: Node of the containers.
        prepare: Called with each container before its start.
    """

    def __init__(self, node: Node, prepare: Callable[[ContainerExecutor], None]) -> None:
        """Begin without containers."""
        self._node = node
        self._prepare = prepare
        self._made: list[ContainerExecutor] = []

    def __call__(
        self, config: ContainerTestConfig | str = "", *, name: str = "", **fields: Any
    ) -> ContainerExecutor:
        """Return a new container, started.

            database = container_factory(image="postgres:16", environment={"POSTGRES_…": "…"})

        Args:
            config: Config of the container, or its image.
            name: Name of the container; `lisa_test_<8 hex digits>` by default.
            fields: Fields of `ContainerTestConfig`; they replace those of `config`.

        Raises:
            ConfigError: A field is wrong; nothing was created.
            EngineError: The container cannot be started; nothing stays behind.
        """
        if isinstance(config, str):
            config = ContainerTestConfig(image=config)
        executor = ContainerExecutor(self._node, config.merged(**fields), name)
        self._prepare(executor)
        self._made.append(executor)
        return executor.start()

    def end(self) -> None:
        """Remove the containers, several at a time."""
        made, self._made = self._made, []
        stop_all(made)
