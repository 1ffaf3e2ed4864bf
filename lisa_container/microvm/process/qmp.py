"""Control of a running QEMU by its own protocol, QMP, from ordinary threads."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, QMPClient, QMPError

from lisa_container.errors import VmError

T = TypeVar("T")

_SECONDS = 30.0
_SHUTDOWN = "SHUTDOWN"
# Reasons of that event: the guest itself, or firmware and devices of its machine.
_RESETS = ("guest-reset", "subsystem-reset")


class QmpLostError(Exception):
    """The connection is closed: QEMU has ended."""


class _Client(QMPClient):
    # A VM that ends closes its connection; the owner reports that, once.
    logger = logging.getLogger(f"{__name__}.client")


_Client.logger.setLevel(logging.CRITICAL + 1)


class Qmp:
    """Connection to one QEMU. A thread of its own reads it, so that any thread may use it.

    Args:
        name: name of the VM, for errors.
        connection: connected socket, of which QEMU has the other end.
    """

    def __init__(self, name: str, connection: socket.socket) -> None:
        """Start the thread; `connect` does the rest."""
        self._name = name
        self._socket = connection
        self._loop = asyncio.new_event_loop()
        self._client: _Client | None = None
        self._watcher: asyncio.Future[None] | None = None
        threading.Thread(target=self._loop.run_forever, name=f"qmp {name}", daemon=True).start()

    def connect(
        self, seconds: float = _SECONDS, on_reset: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for QEMU's greeting and answer it.

        Args:
            seconds: time limit.
            on_reset: function to call, in a thread of its own, when the guest resets its machine
                and QEMU stops it for that (`-action reboot=shutdown`).

        Raises:
            QmpLostError: QEMU has ended.
            VmError: QEMU does not answer.
        """

        async def connect() -> None:
            # Created in the thread: it binds itself to the loop.
            self._client = _Client(self._name)
            await self._client.connect(self._socket)
            self._watcher = asyncio.ensure_future(watch(self._client))

        async def watch(client: _Client) -> None:
            with client.listener(_SHUTDOWN) as events:
                async for event in events:
                    data = event.get("data")
                    if isinstance(data, dict) and data.get("reason") in _RESETS:
                        name = f"reset of {self._name}"
                        threading.Thread(target=on_reset, name=name, daemon=True).start()

        self._wait(connect(), "greet", seconds)

    def execute(self, command: str, seconds: float = _SECONDS, **arguments: Any) -> Any:
        """Run a command of QMP and return its result.

        Args:
            command: name of the command, such as "query-status".
            seconds: time limit.
            arguments: arguments of the command, with `_` for `-` in their names.

        Raises:
            QmpLostError: QEMU has ended.
            VmError: QEMU refuses the command, or does not answer.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        assert self._client is not None, "connect() comes first"
        return self._wait(self._client.execute(command, named or None), command, seconds)

    def close(self) -> None:
        """Close the connection and end the thread."""

        async def disconnect() -> None:
            # The error that ended the connection is raised here again.
            with suppress(QMPError, EOFError, OSError):
                if self._watcher is not None:
                    self._watcher.cancel()
                if self._client is not None:
                    await self._client.disconnect()

        with suppress(QmpLostError, VmError):
            self._wait(disconnect(), "disconnect", _SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._socket.close()

    def _wait(self, job: Coroutine[Any, Any, T], what: str, seconds: float) -> T:
        future = asyncio.run_coroutine_threadsafe(job, self._loop)
        try:
            return future.result(seconds)
        except ExecuteError as error:
            raise VmError(f"VM '{self._name}': QEMU refused '{what}': {error}") from error
        # First: since Python 3.11 it is an OSError.
        except FutureTimeoutError as error:
            future.cancel()
            raise VmError(
                f"VM '{self._name}': QEMU did not answer '{what}' in {seconds:g} s; this machine is"
                " overloaded, or QEMU hangs"
            ) from error
        except (ExecInterruptedError, QMPError, EOFError, OSError) as error:
            raise QmpLostError(str(error)) from error
