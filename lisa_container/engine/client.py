"""The container engine of one node."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors
import requests
import urllib3.exceptions
from lisa.node import Node

from lisa_container.engine.api import EngineAPI, EngineClient
from lisa_container.engine.dial import Dialer, choose_dialer
from lisa_container.engine.naming import node_name
from lisa_container.engine.privileges import Capabilities, find_capabilities, list_devices
from lisa_container.errors import (
    ContainerError,
    EngineError,
    ImageNotFoundError,
    NameTakenError,
    NoSpaceError,
    SshLostError,
)

# A node's engine is an attribute of the node under this name, so that it ends with its node.
_SLOT = "_lisa_container_engine"
_slots_lock = threading.Lock()

# How long (seconds) a node's devices are taken to be the same: for containers started at once.
_DEVICES_AGE = 5.0

# What a broken or silent stream becomes on its way up, at the begin of an answer or later.
_BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclass
class _Slot:
    """The place for a node's engine. The lock is held while the engine is looked for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None


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
        try:
            with errors_of(node):
                self.api = EngineAPI(self.dialer)
                version: dict[str, Any] = self.api.version()
        except BaseException:
            self.dialer.close()
            raise
        components = " ".join(x.get("Name", "") for x in version.get("Components") or [])
        self.kind = "podman" if "podman" in components.lower() else "docker"
        """`docker` or `podman`."""
        self.version: str = version["Version"]
        """The engine's own version, such as `20.10.24`."""
        self.client = EngineClient(self.api)
        self._capabilities: Capabilities | None = None
        self._devices: tuple[float, list[str]] | None = None
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
        slot = _slot_of(node)
        with slot.lock:
            if slot.engine is None:
                slot.engine = cls(node)
            return slot.engine

    @classmethod
    def forget(cls, node: Node) -> None:
        """Look for the node's engine anew at the next use, say after one was installed."""
        slot = _slot_of(node)
        with slot.lock:
            engine, slot.engine = slot.engine, None
        if engine is not None:
            engine.close()

    def ping(self) -> bool:
        """Whether the engine answers now.

        Raises:
            SshLostError: its node does not.
        """
        try:
            with self.errors():
                return bool(self.api.ping())
        except SshLostError:
            raise
        except EngineError:
            return False

    def errors(self, container: str = "", image: str = "") -> Any:
        """Turn the SDK's errors into ours within a `with` block; see `errors_of`."""
        return errors_of(self.node, container, image)

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities that the engine can give to a container, and those it lacks."""
        with self._lock:
            if self._capabilities is None:
                self._capabilities = find_capabilities(self.node, self.kind, self.api)
            return self._capabilities

    @property
    def devices(self) -> list[str]:
        """The device files of the node that a privileged container gets."""
        with self._lock:
            now = time.monotonic()
            if self._devices is None or now - self._devices[0] > _DEVICES_AGE:
                self._devices = now, list_devices(self.node)
            return self._devices[1]

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
    except ContainerError:
        raise
    except docker.errors.ImageNotFound as error:
        raise ImageNotFoundError(image or _said(error), node_name(node), _said(error)) from error
    except docker.errors.APIError as error:
        raise _from_api(error, node, container, image) from error
    except docker.errors.DockerException as error:
        raise EngineError(f"the engine of node '{node_name(node)}' failed: {error}") from error
    except _BROKEN as error:
        cause = _cause(error)
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
    if "container name" in lower and "already in use" in lower:
        return NameTakenError(container, node_name(node), said)
    if status == 404 and "no such image" in lower:
        return ImageNotFoundError(image or said, node_name(node), said)
    about = f" (container '{container}')" if container else f" (image '{image}')" if image else ""
    return EngineError(f"the engine of node '{node_name(node)}' refused{about}: {said}")


def _said(error: docker.errors.APIError) -> str:
    return str(error.explanation or error)


def _cause(error: BaseException) -> BaseException:
    """What urllib3 and requests have wrapped: an error of ours, or else the innermost."""
    seen = [error]
    while not isinstance(seen[-1], EngineError):
        last = seen[-1]
        # urllib3 keeps some causes as `reason` or as an argument only.
        inside = [last.__cause__, getattr(last, "reason", None), *last.args, last.__context__]
        inner = [x for x in inside if isinstance(x, BaseException) and x not in seen]
        if not inner:
            break
        seen.append(inner[0])
    return seen[-1]


def _slot_of(node: Node) -> _Slot:
    with _slots_lock:
        if not hasattr(node, _SLOT):
            setattr(node, _SLOT, _Slot())
        slot: _Slot = getattr(node, _SLOT)
        return slot
