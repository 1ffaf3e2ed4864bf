"""The container engine of one node."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import requests
from lisa.node import Node

from lisa_container.engine.api import EngineAPI
from lisa_container.engine.dial import Dialer, choose_dialer
from lisa_container.engine.naming import node_name
from lisa_container.engine.privileges import grantable_capabilities
from lisa_container.errors import (
    EngineError,
    EngineNotFoundError,
    ImageNotFoundError,
    NameTakenError,
    NoSpaceError,
)

_engines: weakref.WeakKeyDictionary[Node, Engine] = weakref.WeakKeyDictionary()
_engines_lock = threading.Lock()


class Engine:
    """The engine of a node, over the node's own connection. Use `Engine.of(node)`.

    Args:
        node: the LISA node the engine runs on.

    Raises:
        EngineNotFoundError: no engine answers.
        SudoError: one is there, but may not be reached by the node's user.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = node_name(node)
        """The node's name, for messages."""
        self.dialer: Dialer = choose_dialer(node)
        with errors_of(node):
            self.api = EngineAPI(self.dialer)
            version: dict[str, Any] = self.api.version()
        components = " ".join(x.get("Name", "") for x in version.get("Components") or [])
        self.kind = "podman" if "podman" in components.lower() else "docker"
        """`docker` or `podman`."""
        self.version: str = version["Version"]
        """The engine's own version, such as `20.10.24`."""
        self.client = docker.DockerClient.__new__(docker.DockerClient)
        self.client.api = self.api
        self._capabilities: list[str] | None = None
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        node.log.debug(
            f"{self.kind} {self.version} on '{self.name}' through {self.dialer.name}, "
            f"API {self.api.api_version}"
        )

    @classmethod
    def of(cls, node: Node) -> Engine:
        """The engine of this node, found once and kept.

        Raises:
            EngineError: see the class.
        """
        with _engines_lock:
            engine = _engines.get(node)
        if engine is None:
            engine = cls(node)
            with _engines_lock:
                engine = _engines.setdefault(node, engine)
        return engine

    @classmethod
    def forget(cls, node: Node) -> None:
        """Look for the node's engine anew at the next use, say after one was installed."""
        with _engines_lock:
            engine = _engines.pop(node, None)
        if engine is not None:
            engine.close()

    def ping(self) -> bool:
        """Whether the engine answers now."""
        try:
            with self.errors():
                return bool(self.api.ping())
        except EngineError:
            return False

    def errors(self, container: str = "", image: str = "") -> Any:
        """Turn the SDK's errors into ours within a `with` block; see `errors_of`."""
        return errors_of(self.node, container, image)

    @property
    def capabilities(self) -> list[str]:
        """What the engine can grant (`CAP_…`), as the bounding set of its own process says."""
        with self._lock:
            if self._capabilities is None:
                self._capabilities = grantable_capabilities(self.node, self.kind)
            return self._capabilities

    def note_once(self, message: str) -> None:
        """Log a limitation of this node's engine the first time it matters."""
        with self._lock:
            if message in self._noted:
                return
            self._noted.add(message)
        self.node.log.warning(message)

    def close(self) -> None:
        """Close idle streams and what the way to the engine holds on the node."""
        self.api.close()
        self.dialer.close()


@contextlib.contextmanager
def errors_of(node: Node, container: str = "", image: str = "") -> Iterator[None]:
    """Turn errors of the SDK into errors of this package, which say what to do next.

    Args:
        node: for the message.
        container: name of the container the work is about.
        image: the image the work is about.

    Raises:
        EngineError: or a subclass, for whatever the engine or the way to it said.
    """
    try:
        yield
    except EngineError:
        raise
    except docker.errors.ImageNotFound as error:
        raise ImageNotFoundError(image or _said(error), node_name(node), _said(error)) from error
    except docker.errors.APIError as error:
        raise _from_api(error, node, container, image) from error
    except docker.errors.DockerException as error:
        raise EngineError(f"the engine of node '{node_name(node)}' failed: {error}") from error
    except (requests.exceptions.RequestException, OSError) as error:
        cause = _root_cause(error)
        if isinstance(cause, EngineError):
            raise cause from error
        raise EngineError(
            f"the engine of node '{node_name(node)}' does not answer: {cause}. Check that it runs "
            "(for Docker: 'systemctl status docker', or its log)."
        ) from error


def _from_api(error: docker.errors.APIError, node: Node, container: str, image: str) -> EngineError:
    said = _said(error)
    lower = said.lower()
    status = error.response.status_code if error.response is not None else 0
    if "no space left on device" in lower:
        return NoSpaceError(node_name(node), said)
    if status == 409 and ("already in use" in lower or "name is in use" in lower):
        return NameTakenError(container, node_name(node), said)
    if status == 404 and "no such image" in lower:
        return ImageNotFoundError(image or said, node_name(node), said)
    about = f" (container '{container}')" if container else f" (image '{image}')" if image else ""
    return EngineError(f"the engine of node '{node_name(node)}' refused{about}: {said}")


def _said(error: docker.errors.APIError) -> str:
    return str(error.explanation or error)


def _root_cause(error: BaseException) -> BaseException:
    seen = error
    while True:
        inner = seen.__cause__ or seen.__context__
        reason = getattr(seen, "reason", None)
        if isinstance(reason, BaseException):
            inner = reason
        elif inner is None and seen.args and isinstance(seen.args[0], BaseException):
            inner = seen.args[0]
        if inner is None or isinstance(seen, EngineNotFoundError):
            return seen
        seen = inner
