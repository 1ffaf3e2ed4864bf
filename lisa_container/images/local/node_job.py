"""Long scripts on a node, such as one that makes an image, with their progress in the log."""

from __future__ import annotations

import base64
import os
import re
import secrets
import time
from typing import Callable

import paramiko
from lisa.node import Node
from lisa.operating_system import Posix

from lisa_container.config import ImageReference
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.shell import NodeCommand, shell_of
from lisa_container.errors import EngineError, NoSpaceError, SshLostError
from lisa_container.escaping import quote_output, says_disk_is_full
from lisa_container.naming import node_name

# Seconds between two looks at the script's output.
_POLL = 0.1
# Most characters of output that are kept, of its end.
_KEPT = 64 * 1024

# The script runs in a session of its own, which ends when this runner or the connection to it does:
# then the command's input ends. Its output tells its exit code, as a channel does not.
_RUN = (
    "exec 3<&0; setsid sh -c {script} </dev/null 3<&- 2>&1 & job=$!; "
    "(cat <&3; kill -TERM -- -$job) >/dev/null 2>&1 & "
    "wait $job; code=$?; echo; echo {token} $code"
)
_DECODED = '"$(echo {text} | base64 -d)"'
# An image's id, as `docker import` and `podman import` print it.
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


def install_package(node: Node, package: str) -> None:
    """Install a package of the distribution on a node, if LISA knows the distribution.

    Args:
        node: the node.
        package: name of the package.

    Raises:
        NoSpaceError: the node's disk is full.
        EngineError: the installation failed; the message begins with the cause.
    """
    if not isinstance(node.os, Posix):
        return
    name = node_name(node)
    try:
        with Activity(f"installing {package} on node '{name}'", node.log):
            node.os.install_packages(package)
    except Exception as error:  # any of LISA's
        quoted = quote_output(str(error))
        if says_disk_is_full(quoted):
            raise NoSpaceError(name, quoted) from error
        raise EngineError(f"installing {package} on node '{name}' failed: {quoted}") from error


def make_image(
    engine: Engine, reference: ImageReference, script: str, timeout: float, advice: str = ""
) -> str:
    """Run a script for `sh` on the engine's node, as root; return the id of the image it imported.

    Args:
        engine: engine of the node.
        reference: name of the image, for messages.
        script: the last line of its output is the image's id.
        timeout: time limit in seconds.
        advice: next step in the error of a script that failed.

    Raises:
        NoSpaceError: the node's disk is full.
        EngineError: the script failed; the message begins with the cause.
    """
    what = f"making image '{reference}' on node '{engine.name}'"
    with Activity(what, engine.node.log) as activity:
        output, code = run_job(engine, script, timeout, activity.add_output)
        lines = output.split()
        if code == 0 and lines and _ID.fullmatch(lines[-1]):
            return lines[-1]
        if says_disk_is_full(output):
            raise NoSpaceError(engine.name, output)
        reason = quote_output(output) if code is not None else f"it took more than {timeout:g} s"
        raise EngineError(f"{what} failed: {reason}{advice}")


def run_job(
    engine: Engine, script: str, timeout: float, on_output: Callable[[bytes], None]
) -> tuple[str, int | None]:
    """Run a script for `sh` on the engine's node, as root, which ends with this runner.

    Args:
        engine: engine of the node.
        script: the script; its stdin is empty.
        timeout: time limit in seconds.
        on_output: gets each piece of the output.

    Returns:
        The end of its output, stdout and stderr together, and its exit code; None if it took too
        long and was killed.

    Raises:
        SshLostError: the connection to the node ended.
        SudoError: sudo refused.
    """
    # In this form, no login shell can misread it.
    text = _DECODED.format(text=base64.b64encode(os.fsencode(script)).decode())
    token = secrets.token_hex(8)
    needs_sudo = shell_of(engine, as_root=False).run("id -u").strip() != "0"
    command = shell_of(engine, as_root=needs_sudo).start(_RUN.format(script=text, token=token))
    try:
        return _read(command, token, on_output, timeout)
    except (EOFError, OSError, paramiko.SSHException) as error:
        raise SshLostError(f"node '{engine.name}'", error) from error
    finally:
        command.close()


def _read(
    command: NodeCommand, token: str, on_output: Callable[[bytes], None], timeout: float
) -> tuple[str, int | None]:
    output, deadline = "", time.monotonic() + timeout
    end = re.compile(rf"\n?^{token} (\d+)\n", re.MULTILINE)
    while True:
        piece = command.receive()
        if piece:
            on_output(piece.encode())
            output = (output + piece)[-_KEPT:]
            match = end.search(output)
            if match is not None:
                return output[: match.start()], int(match[1])
        if time.monotonic() > deadline:
            return output, None
        if not piece:
            time.sleep(_POLL)
