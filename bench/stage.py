"""Node for a row: a sandbox on this machine with real SSH and a real engine."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import sys
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar

import docker
from lisa import schema
from lisa.node import Node, quick_connect
from lisa.util import constants
from lisa.util.logger import init_logger, set_console_level

from bench.raw import open_api
from lisa_container.container.live import release_lease
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox

BUSYBOX = "lisa_container/busybox"
"""Image made on the node from its own static busybox; see lisa_container/images/local."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Login:
    """Address and user for a login. Can be sent to other processes."""

    address: str
    port: int
    username: str
    key: Path = field(repr=False)

    @contextlib.contextmanager
    def node(self) -> Iterator[Node]:
        """Connect a LISA node for a `with` block."""
        node = quick_connect(
            schema.RemoteNode(
                name="node",
                address=self.address,
                public_address=self.address,
                port=self.port,
                public_port=self.port,
                username=self.username,
                private_key_file=str(self.key),
            ),
            logger_name="node",
        )
        try:
            yield node
        finally:
            release_lease(node)
            node.close()


class Stage:
    """Context manager with the node and the environment of a row.

    Args:
        quick: whether the rows only check that they work.

    Attributes:
        machine: the node, accessed without SSH.
        root: login as root, who may open the engine's socket.
        user: login as a user with sudo without a password, the usual LISA user.
        folder: temporary folder on this machine.
    """

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        with self._exit:
            folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            self.folder = Path(folder)
            set_up_lisa(self.folder / "lisa")
            sandbox = self._exit.enter_context(start_sandbox(1))
            self.machine: SandboxNode = sandbox.nodes[0]
            self.root = self._login("root")
            self.user = self._login(self.machine.username)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def pick(self, full: int, quick: int) -> int:
        """Return the number for a full run or for a quick run."""
        return quick if self.quick else full

    @property
    def socket(self) -> str:
        """URL of the engine's socket on this machine, through the root of the node's init."""
        return f"unix:///proc/{self.machine.pid}/root/run/docker.sock"

    def api(self) -> docker.APIClient:
        """Return an SDK client on the engine's own socket, without SSH and lisa_container."""
        return open_api(self.socket)

    def _login(self, username: str) -> Login:
        machine = self.machine
        return Login(machine.address, machine.port, username, machine.private_key_file)


def set_up_lisa(folder: Path) -> None:
    """Set up LISA as a library, with a log that shows only warnings.

    Args:
        folder: folder for LISA's files.
    """
    init_logger()
    set_console_level(logging.WARNING)
    # LISA redirects these to its log.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    constants.RUN_ID = "bench"
    constants.RUN_LOGIC_PATH = Path("bench/run")
    constants.RUN_LOCAL_LOG_PATH = folder / "log"
    constants.RUN_LOCAL_WORKING_PATH = folder / "working"
    constants.CACHE_PATH = folder / "cache"


def in_process(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function in a new Python process, for example to measure its memory.

    Args:
        function: function at the top level of a module. LISA is set up before the call.
        *arguments: arguments of the function, which are pickled.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_lisa, function, arguments).result()


def _with_lisa(function: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        set_up_lisa(Path(folder))
        try:
            return function(*arguments)
        except Exception:
            # As text, because some errors cannot be pickled.
            raise RuntimeError(traceback.format_exc()) from None
