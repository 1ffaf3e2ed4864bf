"""Nodes that `--lisa-node` can name; `_KINDS` has one class for each kind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from lisa_container.addresses import ADDRESS_FORM, PASSWORD_VARIABLE, Address, parse_address

if TYPE_CHECKING:
    from lisa.node import Node

    from lisa_container.microvm import MicroVm

OPTION = "--lisa-node"

_SCHEME = "://"


@dataclass(frozen=True)
class ConnectedNode:
    """Connected node of a pytest process."""

    node: Node
    machine: MicroVm | None = None
    """Virtual machine that the node is; None means that it is another machine."""


class NodeSource(Protocol):
    """Source of the node that the tests of a pytest process use."""

    def check(self) -> None:
        """Check that there will be a node, before any test runs.

        Raises:
            UsageError: There will be none; the message says why.
        """

    @property
    def ends_with_pytest(self) -> bool:
        """Whether the node is gone after the tests, with all containers on it."""

    def connected(self) -> contextlib.AbstractContextManager[ConnectedNode]:
        """Return a context manager for the connected node.

        Raises:
            LisaException: The node cannot be used.
        """


@dataclass(frozen=True)
class LocalSource:
    """The machine that pytest runs on."""

    ends_with_pytest: ClassVar[bool] = False

    @classmethod
    def parse(cls, rest: str, key: Path | None) -> LocalSource | None:
        """Return the source for `local`, or None if more is given."""
        return None if rest else cls()

    def check(self) -> None:
        """Do nothing: this machine is there."""

    @contextlib.contextmanager
    def connected(self) -> Iterator[ConnectedNode]:
        """Let LISA use this machine as its node."""
        from lisa import schema

        from lisa_container.engine.reach import node_of

        with _connected(node_of(schema.LocalNode(name="local"))) as node:
            yield ConnectedNode(node)


@dataclass(frozen=True)
class SshSource:
    """A machine that is reached over SSH."""

    address: Address
    key: Path | None

    ends_with_pytest: ClassVar[bool] = False

    @classmethod
    def parse(cls, rest: str, key: Path | None) -> SshSource | None:
        """Return the source for an address, or None if it is none."""
        user, at, _ = rest.rpartition("@")
        if at and ":" in user:
            raise pytest.UsageError(
                f"{OPTION}: given a password, which all users of the machine could read in the "
                f"list of processes. Put it into the environment variable {PASSWORD_VARIABLE}"
            )
        address = parse_address(rest)
        return None if address is None else cls(address, key)

    def check(self) -> None:
        """Log in once, as LISA does, and out again."""
        from lisa.util import LisaException
        from lisa.util.shell import SshShell

        from lisa_container.engine.reach import require_login

        where = f"{self.address.user}@{self.address.host}"
        if self.key is not None and not self.key.is_file():
            raise pytest.UsageError(f"--lisa-key: there is no file '{self.key}'")
        if self.key is None and not self._password:
            raise pytest.UsageError(
                f"{OPTION}: no way to log in as '{where}'. Give the user's private key with "
                f"--lisa-key, or the password in the environment variable {PASSWORD_VARIABLE}"
            )
        try:
            shell = self._make().shell
            assert isinstance(shell, SshShell)
            require_login(shell)
        except LisaException as error:
            raise pytest.UsageError(f"{OPTION}: {error}") from error

    @contextlib.contextmanager
    def connected(self) -> Iterator[ConnectedNode]:
        """Connect to the machine."""
        with _connected(self._make()) as node:
            yield ConnectedNode(node)

    @property
    def _password(self) -> str:
        return os.environ.get(PASSWORD_VARIABLE, "")

    def _make(self) -> Node:
        from lisa_container.engine.reach import remote_node

        return remote_node(self.address, self.key, self._password)


@dataclass(frozen=True)
class MicroVmSource:
    """A virtual machine that this pytest process starts, with the defaults of `VmConfig`."""

    ends_with_pytest: ClassVar[bool] = True

    @classmethod
    def parse(cls, rest: str, key: Path | None) -> MicroVmSource | None:
        """Return the source for `microvm`, or None if more is given."""
        return None if rest else cls()

    def check(self) -> None:
        """Check that this machine has QEMU."""
        require_qemu()

    @contextlib.contextmanager
    def connected(self) -> Iterator[ConnectedNode]:
        """Start the VM and connect to it as root; remove it at the end."""
        from lisa_container.microvm import MicroVm
        from lisa_container.microvm.session import VmSession

        with VmSession(MicroVm()) as vm:
            yield ConnectedNode(vm.node, vm.machine)


def require_qemu() -> None:
    """Check that this machine has QEMU.

    Raises:
        UsageError: It has none; the message names the package.
    """
    from lisa_container.errors import VmMachineError
    from lisa_container.microvm.machine.qemu import find_program, find_qemu

    try:
        find_qemu()
        find_program("qemu-img")
    except VmMachineError as error:
        raise pytest.UsageError(str(error)) from error


# Word in front of `://`, the form for messages, and the function that makes the source. Another
# kind of node needs a class as those above, and an entry here.
_KINDS = {
    "local": ("local", LocalSource.parse),
    "microvm": ("microvm", MicroVmSource.parse),
    "ssh": (f"ssh{_SCHEME}{ADDRESS_FORM}", SshSource.parse),
}


def parse_source(text: str, key: Path | None) -> NodeSource:
    """Return the source of the node that a text names.

    Args:
        text: Value of `--lisa-node`.
        key: Private key of the node's user; None if none was given.

    Raises:
        UsageError: The text names no node; the message has the legal forms.
    """
    kind, _, rest = text.partition(_SCHEME)
    _, parse = _KINDS.get(kind, ("", None))
    source: NodeSource | None = parse(rest, key) if parse is not None else None
    if source is None:
        raise pytest.UsageError(f"{OPTION}: given '{text}'; legal: {LEGAL}")
    return source


LEGAL = ", ".join(f"'{form}'" for form, _ in _KINDS.values())
"""Legal forms of `--lisa-node`, for messages."""


@contextlib.contextmanager
def _connected(node: Node) -> Iterator[Node]:
    """Connect to a node in this block; then remove what the tests left on it, and disconnect."""
    from lisa_container.cases.containers import NodeContainers
    from lisa_container.engine.client import Engine
    from lisa_container.engine.reach import connect

    try:
        connect(node)
        yield node
    finally:
        NodeContainers.of(node).cleanup()
        Engine.forget(node)
        node.close()
