"""The keeper's loop: build the sandbox, tell the runner, wait for its end, undo everything.

The runner writes one line of JSON, a `Spec`, and reads one: `{"key": "…", "nodes": […]}` or
`{"error": "…"}`. From then on the sandbox lives until the runner closes the pipe or ends. Then
everything is undone, and a last line says `{"stopped": true}`, or with `"error"` what could not be
undone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from . import cgroups, state
from .commands import KeeperError, run
from .files import Identity
from .kernel import network_of
from .network import Network, forwarding_file
from .node import Node
from .spec import Spec


class _TerminationError(Exception):
    """Somebody ends the keeper politely."""


class Keeper:
    """One sandbox, from its making to its undoing.

    Args:
        spec: what to make.
        runner: pidfd of the process whose end ends it.
    """

    def __init__(self, spec: Spec, runner: int) -> None:
        self._spec = spec
        self._runner = runner
        self._record = state.Record(spec.id, str(Path(spec.data_root, spec.id)))
        self._claim: state.Claim | None = None
        self._network: Network | None = None
        self._nodes: list[Node] = []

    def start(self) -> dict[str, Any]:
        """Make the sandbox.

        Returns:
            What the runner has to know.

        Raises:
            KeeperError: it could not be made; `undo` is to be called all the same.
        """
        with suppress(KeeperError):
            # Somebody else's leftovers are no reason to fail; they are tried again next time.
            state.sweep(Path(self._spec.data_root))
        self._claim = state.claim(self._record)
        self._network = network = Network(self._spec.id)
        network.create()
        key = self._make_key(self._claim.folder)
        self._nodes = self._make_nodes(network, key.with_suffix(".pub").read_text(encoding="ascii"))
        with network_of(network.machine):
            self._note_settings(network)
        network.connect([forwarding_file(name) for name in (*network.uplinks, network.interface)])
        for node in self._nodes:
            node.launch()
        network.plug({index: node.pid for index, node in enumerate(self._nodes)})
        for node in self._nodes:
            node.go()
        for node in self._nodes:
            node.wait_ready(self._is_over)
        nodes = [
            {
                "name": node.name,
                "address": node.address,
                "pid": node.pid,
                "console": str(node.console),
                "cgroups": [str(folder) for folder in node.cgroup_folders],
            }
            for node in self._nodes
        ]
        return {"key": str(key), "nodes": nodes}

    def wait(self) -> None:
        """Return when the runner has closed the pipe, or ended."""
        self._is_over(timeout=None)

    def undo(self) -> None:
        """Leave the machine as it was.

        Raises:
            KeeperError: something could not be undone; the next start of a sandbox tries again.
        """
        for node in self._nodes:
            node.kill()
        if self._network:
            self._network.remove()
        if self._claim:
            if not self._network:
                state.undo(self._claim, self._record)
                return
            with network_of(self._network.machine):
                state.undo(self._claim, self._record)

    def _make_key(self, folder: Path) -> Path:
        """Make the key pair for all nodes, where only root can read it."""
        key = folder / "id_ed25519"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sandbox", "-f", str(key))
        return key

    def _make_nodes(self, network: Network, authorized_key: str) -> list[Node]:
        names = self._spec.nodes
        addresses = {name: network.address(index) for index, name in enumerate(names)}
        return [
            Node(
                self._spec,
                Path(self._record.data, name),
                Identity(name, address, network.mtu, authorized_key.strip(), addresses),
                network,
            )
            for name, address in addresses.items()
        ]

    def _note_settings(self, network: Network) -> None:
        """Note the settings of the machine that will be changed, and change those for cgroups."""
        wanted = {}
        for name in network.uplinks:
            file = forwarding_file(name)
            if file.read_text(encoding="ascii").strip() == "0":
                wanted[file] = "0"
        handed: dict[Path, list[str]] = {}
        for hierarchy in cgroups.hierarchies():
            missing = cgroups.missing_controllers(hierarchy)
            if missing:
                file = hierarchy.mount / "cgroup.subtree_control"
                handed[file] = missing
                wanted[file] = " ".join(f"-{name}" for name in missing)
        if wanted:
            state.change_settings(wanted)
        for file, missing in handed.items():
            for name in missing:
                # Not every controller can be handed on everywhere; a node does without it, then.
                with suppress(OSError):
                    file.write_text(f"+{name}", encoding="ascii")

    def _is_over(self, timeout: float | None = 0) -> bool:
        # After its one line, the runner writes nothing more: what can be read is the end.
        return bool(select.select([sys.stdin, self._runner], [], [], timeout)[0])


def main() -> int:
    """Be the keeper.

    Returns:
        The exit code.
    """
    # Handlers, not SIG_IGN: what is ignored stays ignored in everything that runs on the nodes.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, _terminate)
    os.umask(0o022)
    spec = Spec.from_json(sys.stdin.readline())
    try:
        runner = os.pidfd_open(spec.runner)
    except ProcessLookupError:
        return 1
    keeper = Keeper(spec, runner)
    reply: dict[str, Any] = {"stopped": True}
    try:
        _tell(keeper.start())
        keeper.wait()
    except _TerminationError:
        pass
    except KeeperError as error:
        _tell({"error": str(error)})
    except Exception as error:
        # A mistake of ours: whatever it is, the runner hears of it, and everything is undone.
        traceback.print_exc()
        _tell({"error": f"{type(error).__name__}: {error}"})
    finally:
        # A second polite request must not interrupt the undoing.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            keeper.undo()
        except (KeeperError, OSError) as error:
            reply["error"] = str(error)
        _tell(reply)
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminationError


def _tell(message: dict[str, Any]) -> None:
    # The runner may be gone; then nobody listens, and that is fine.
    with suppress(OSError):
        print(json.dumps(message), flush=True)
