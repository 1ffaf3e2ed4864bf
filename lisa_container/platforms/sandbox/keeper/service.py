"""Main loop of the keeper: create the sandbox, report to the runner, wait for its end, clean up.

The runner writes a `Spec` as one line of JSON and reads one line: `{"key": "…", "nodes": […]}` or
`{"error": "…"}`. The sandbox lives until the runner closes the pipe or ends. Then the keeper cleans
up and writes a last line, `{"stopped": true}`, with an `"error"` if something could not be removed.
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
    """The keeper received SIGTERM."""


class Keeper:
    """Owner of one sandbox, from creation to clean-up.

    Args:
        spec: request for the sandbox.
        runner: pidfd of the process whose end ends the sandbox.
    """

    def __init__(self, spec: Spec, runner: int) -> None:
        """Create nothing yet."""
        self._spec = spec
        self._runner = runner
        self._record = state.Record(spec.id, str(Path(spec.data_root, spec.id)))
        self._claim: state.Claim | None = None
        self._network: Network | None = None
        self._nodes: list[Node] = []

    def start(self) -> dict[str, Any]:
        """Create the sandbox.

        Returns:
            The reply for the runner.

        Raises:
            KeeperError: the sandbox could not be created. Call `undo` in this case too.
        """
        with suppress(KeeperError):
            # Leftovers of other sandboxes are no reason to fail. The next start tries again.
            state.sweep(Path(self._spec.data_root))
        self._claim = state.claim(self._record)
        self._network = network = Network(self._spec.id)
        network.create()
        key = self._make_key(self._claim.folder)
        self._nodes = self._make_nodes(network, key.with_suffix(".pub").read_text(encoding="ascii"))
        with network_of(network.machine):
            self._change_settings(network)
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
        """Return when the runner has closed the pipe or has ended."""
        self._is_over(timeout=None)

    def undo(self) -> None:
        """Remove the sandbox and restore the machine.

        Raises:
            KeeperError: something could not be removed. The next start of a sandbox tries again.
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
        """Create the key pair for all nodes in a folder that only root can read."""
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

    def _change_settings(self, network: Network) -> None:
        """Save the machine settings that will change, and enable the missing cgroup controllers."""
        wanted = {}
        for name in network.uplinks:
            file = forwarding_file(name)
            if file.read_text(encoding="ascii").strip() == "0":
                wanted[file] = "0"
        enabled: dict[Path, list[str]] = {}
        for hierarchy in cgroups.hierarchies():
            missing = cgroups.missing_controllers(hierarchy)
            if missing:
                file = hierarchy.mount / "cgroup.subtree_control"
                enabled[file] = missing
                wanted[file] = " ".join(f"-{name}" for name in missing)
        if wanted:
            state.save_settings(wanted)
        for file, missing in enabled.items():
            for name in missing:
                # Some controllers cannot be enabled everywhere. Nodes do without them then.
                with suppress(OSError):
                    file.write_text(f"+{name}", encoding="ascii")

    def _is_over(self, timeout: float | None = 0) -> bool:
        # The runner writes only one line, so a readable pipe means its end.
        return bool(select.select([sys.stdin, self._runner], [], [], timeout)[0])


def main() -> int:
    """Run the keeper and return its exit code."""
    # Handlers instead of SIG_IGN, because the nodes' processes would inherit SIG_IGN.
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
        _send(keeper.start())
        keeper.wait()
    except _TerminationError:
        pass
    except KeeperError as error:
        _send({"error": str(error)})
    except Exception as error:
        # A bug in the keeper: report it to the runner and clean up.
        traceback.print_exc()
        _send({"error": f"{type(error).__name__}: {error}"})
    finally:
        # A second SIGTERM must not interrupt the clean-up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            keeper.undo()
        except (KeeperError, OSError) as error:
            reply["error"] = str(error)
        _send(reply)
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminationError


def _send(message: dict[str, Any]) -> None:
    # The runner may have ended and closed the pipe.
    with suppress(OSError):
        print(json.dumps(message), flush=True)
