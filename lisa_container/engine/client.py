"""The container engine of one node."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import docker
import docker.errors
import requests
import urllib3.exceptions
from lisa.node import Node

from lisa_container.engine.deaths import DeathWatch
from lisa_container.engine.dial import Dialer, choose_dialer
from lisa_container.engine.http.api import EngineAPI, EngineClient
from lisa_container.engine.privileges import Capabilities, find_capabilities, list_devices
from lisa_container.errors import (
    ContainerError,
    EngineError,
    ImageNotFoundError,
    NameTakenError,
    NoSpaceError,
    SshLostError,
)
from lisa_container.masking import Plain, expose
from lisa_container.naming import node_name

# Name of the node's attribute that holds its engine, so that the engine ends with its node.
_SLOT = "_lisa_container_engine"
_slots_lock = threading.Lock()

# Seconds for which a node's list of devices is cached, for containers started at the same time.
_DEVICES_AGE = 5.0

# Errors for a broken or silent stream, at the start of an answer or later.
_BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)

T = TypeVar("T")


@dataclass
class _Slot:
    """Attribute of a node that holds its engine.

    `lock` is held while the engine is searched, `installation` while it is installed.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None
    installation: threading.Lock = field(default_factory=threading.Lock)


class Engine:
    """Engine of a node, reached over the node's own connection. Use `Engine.of(node)`.

    Args:
        node: the LISA node that the engine runs on.

    Raises:
        EngineNotFoundError: no engine answers.
        SudoError: the node's user may not reach the engine.
    """

    def __init__(self, node: Node) -> None:
        """Connect to the engine and read its kind and version."""
        self.node = node
        self.name = node_name(node)
        """The node's name, for messages."""
        _expose_login(node)
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
        self.deaths = DeathWatch(self)
        """Watch for containers that die while commands run in them."""
        self._capabilities: Capabilities | None = None
        self._devices: tuple[float, list[str]] | None = None
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        self._states: dict[type, Any] = {}
        self._states_lock = threading.Lock()
        node.log.debug(
            f"{self.kind} {self.version} on '{self.name}' through {self.dialer.name}, "
            f"API {self.api.api_version}"
        )

    @classmethod
    def of(cls, node: Node) -> Engine:
        """Return the engine of this node; connect at the first call.

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
        """Search the node's engine again at the next use, for example after an installation."""
        slot = _slot_of(node)
        with slot.lock:
            engine, slot.engine = slot.engine, None
        if engine is not None:
            engine.close()

    def ping(self) -> bool:
        """Return whether the engine answers now.

        Raises:
            SshLostError: the node cannot be reached.
        """
        try:
            with self.errors():
                return bool(self.api.ping())
        except SshLostError:
            raise
        except EngineError:
            return False

    def errors(self, container: str = "", image: str = "") -> Any:
        """Convert errors of the SDK in a `with` block; see `errors_of`."""
        return errors_of(self.node, container, image)

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities that the engine can grant to a container, and those it lacks."""
        with self._lock:
            if self._capabilities is None:
                self._capabilities = find_capabilities(self.node, self.kind, self.api)
            return self._capabilities

    @property
    def devices(self) -> list[str]:
        """Device files of the node that a privileged container gets."""
        with self._lock:
            now = time.monotonic()
            if self._devices is None or now - self._devices[0] > _DEVICES_AGE:
                self._devices = now, list_devices(self.node)
            return self._devices[1]

    def state(self, kind: type[T]) -> T:
        """Return this engine's object of the class `kind`, made at the first call.

        A module keeps there what it learns about the engine, such as the images seen on its node.
        The object ends with the engine, and `Engine` need not know the class.

        Args:
            kind: a class private to the module, whose constructor takes no arguments.
        """
        with self._states_lock:
            if kind not in self._states:
                self._states[kind] = kind()
            state: T = self._states[kind]
            return state

    def note_once(self, message: str) -> None:
        """Log a warning about this node's engine, unless it was logged before."""
        with self._lock:
            if message in self._noted:
                return
            self._noted.add(message)
        self.node.log.warning(Plain(message))

    def close(self) -> None:
        """Close idle streams, and the relay or connections that lead to the engine."""
        self.api.close()
        self.dialer.close()


@contextlib.contextmanager
def errors_of(node: Node, container: str = "", image: str = "") -> Iterator[None]:
    """Convert errors of the SDK to errors of this package, which say what to do next.

    Args:
        node: the engine's node.
        container: the container that the requests are about, if any.
        image: the image that the requests are about, if any.

    Raises:
        EngineError: or a subclass, for each error of the engine or of the connection to it.
    """
    try:
        yield
    except ContainerError:
        raise
    except docker.errors.ImageNotFound as error:
        reason = _reason(error)
        raise ImageNotFoundError(image or reason, node_name(node), reason) from error
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
    reason = _reason(error)
    lower = reason.lower()
    status = error.response.status_code if error.response is not None else 0
    if "no space left on device" in lower:
        return NoSpaceError(node_name(node), reason)
    if "container name" in lower and "already in use" in lower:
        return NameTakenError(container, node_name(node), reason)
    if status == 404 and "no such image" in lower:
        return ImageNotFoundError(image or reason, node_name(node), reason)
    about = f" (container '{container}')" if container else f" (image '{image}')" if image else ""
    return EngineError(f"the engine of node '{node_name(node)}' refused{about}: {reason}")


def _reason(error: docker.errors.APIError) -> str:
    return str(error.explanation or error)


def _cause(error: BaseException) -> BaseException:
    """Return the `EngineError` that urllib3 and requests have wrapped, or the innermost error."""
    seen = [error]
    while not isinstance(seen[-1], EngineError):
        last = seen[-1]
        # urllib3 keeps some causes only as `reason` or as an argument.
        inside = [last.__cause__, getattr(last, "reason", None), *last.args, last.__context__]
        inner = [x for x in inside if isinstance(x, BaseException) and x not in seen]
        if not inner:
            break
        seen.append(inner[0])
    return seen[-1]


def _expose_login(node: Node) -> None:
    """Leave the name of the node's user, and the path of its key, readable in all records."""
    info = getattr(node, "connection_info", None) or {}
    expose(info.get("username"), info.get("private_key_file"))


def installation_lock(node: Node) -> threading.Lock:
    """Return the lock to hold while an engine is installed on a node."""
    return _slot_of(node).installation


def _slot_of(node: Node) -> _Slot:
    with _slots_lock:
        if not hasattr(node, _SLOT):
            setattr(node, _SLOT, _Slot())
        slot: _Slot = getattr(node, _SLOT)
        return slot
