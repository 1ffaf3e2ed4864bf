"""Ways for a user to enter a container: a command line, and a script that does the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lisa.util.shell import SshShell

from lisa_container.atomic import replace_file
from lisa_container.container.follower import Followed
from lisa_container.engine.client import Engine
from lisa_container.engine.ssh import address_behind, way_to
from lisa_container.escaping import printable
from lisa_container.forks import Belongings
from lisa_container.images.local.adopt import engine_command
from lisa_container.masking import Plain
from lisa_container.naming import node_name
from lisa_container.recording.records import ENTER_FILE
from lisa_container.recording.trouble import report_unwritten

# As LISA does: nodes are often made anew under the same address.
_ANY_HOST_KEY = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR"),
)

_SCRIPT = """\
#!/bin/sh
# Open a shell in container '{container}' on node '{node}'.
# ssh and sudo ask for a password if they need one. Without a terminal, it reads standard input.
tty=-t mode=-it
[ -t 0 ] || tty=-T mode=-i
exec {command}
"""


# Kept containers that the log has named: one may be kept for its failed case, then at its end.
_reported: Belongings[Followed] = Belongings()


def enter_command(engine: Engine, container: str) -> str:
    """Return the command line that opens a shell in a container, for a terminal.

    It has no password; ssh and sudo ask for one.

    Args:
        engine: Engine of the node.
        container: Name of the container.
    """
    inside = _inside(engine, container, "-it")
    login = _login(engine)
    return shlex.join(["ssh", "-t", *login, inside]) if login else inside


def write_script(engine: Engine, container: str, path: Path) -> None:
    """Write a script that opens a shell in a container.

    Args:
        engine: Engine of the node.
        container: Name of the container.
        path: File for the script; its folder is made.

    Raises:
        OSError: The script cannot be written.
    """
    inside = _inside(engine, container, "$mode")
    login = _login(engine)
    command = f'ssh "$tty" {shlex.join(login)} "{inside}"' if login else inside
    node = " ".join(node_name(engine.node).split())  # one line of a comment
    text = _SCRIPT.format(container=container, node=node, command=command)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, [text.encode("utf-8", errors="surrogateescape")])
    path.chmod(0o755)


def report_kept(container: Followed, what: str) -> None:
    """Log how to enter a kept container, and write a script for that to its records; do so once.

    Args:
        container: The container.
        what: First words of the message, such as "kept".
    """
    if container in _reported:
        return
    _reported.add(container)
    log, folder, script = container.host.log, container.capture.folder, ""
    command = container.enter_command
    if folder is not None and command:
        try:
            write_script(container.engine, container.name, folder / ENTER_FILE)
            script = f" (script: {folder / ENTER_FILE})"
        except OSError as error:
            report_unwritten(log, f"'{ENTER_FILE}'", folder, error)
    way = f"enter: {command}" if command else "its command has ended, so it cannot be entered"
    log.info(Plain(printable(f"{what} {container!r}{script}; {way}")))


def _inside(engine: Engine, container: str, options: str) -> str:
    # A user who may open the engine's socket needs no sudo. An engine allows no quotes in names.
    sudo = "" if engine.dialer.name in ("unix", "streamlocal") else "sudo "
    return f"{sudo}{engine_command(engine)} exec {options} {container} sh"


def _login(engine: Engine) -> list[str]:
    """Return the arguments of ssh up to the node's name; none for this machine."""
    shell = engine.node.shell
    if not isinstance(shell, SshShell):
        return []
    way = way_to(shell)
    proxy = ""
    for box, following in zip(way, way[1:]):
        host, port = address_behind(following)
        host = f"[{host}]" if ":" in host else host
        words = ["ssh", *_options(box, proxy), "-W", f"{host}:{port}", _target(box)]
        proxy = shlex.join(words).replace("%", "%%")  # ssh expands %h and the like
    return [*_options(way[-1], proxy), _target(way[-1])]


def _options(info: Any, proxy: str) -> list[str]:
    words = ["-p", str(info.port), *_ANY_HOST_KEY]
    if info.private_key_file:
        words += ["-i", str(Path(info.private_key_file).absolute())]
    if proxy:
        words += ["-o", f"ProxyCommand={proxy}"]
    return words


def _target(info: Any) -> str:
    return f"{info.username}@{info.address}"
