"""Command line of the sandbox, for a Makefile and for a person.

    python -m lisa_container.platforms.sandbox check     # what this machine lacks; 1 if anything
    python -m lisa_container.platforms.sandbox packages  # the Debian packages that it needs
    python -m lisa_container.platforms.sandbox up -n 2   # two nodes, until Ctrl-C

`check` and `packages` change nothing.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys

from lisa.util.logger import uninit_logger

from lisa_container.errors import ContainerError
from lisa_container.platforms.sandbox import REQUIRED_PACKAGES, Sandbox, SandboxConfig, preflight


def main() -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m lisa_container.platforms.sandbox")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="tell what this machine lacks for a sandbox")
    commands.add_parser("packages", help="tell the Debian packages that it needs")
    up = commands.add_parser("up", help="start nodes and keep them until Ctrl-C")
    up.add_argument("-n", "--nodes", type=int, default=1, help="how many")
    up.add_argument("--docker", default="running", help="running, stopped or absent")
    arguments = parser.parse_args()
    if arguments.command == "check":
        return _check()
    if arguments.command == "packages":
        print(" ".join(sorted(set(REQUIRED_PACKAGES.values()))))
        return 0
    return _up(SandboxConfig(count=arguments.nodes, docker=arguments.docker))


def _check() -> int:
    problems = preflight()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _up(config: SandboxConfig) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Ctrl-C and a polite kill end the pause; only then the nodes end.
    signals = {signal.SIGINT, signal.SIGTERM}
    with Sandbox(config) as sandbox:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for node in sandbox.nodes:
            print(shlex.join(node.ssh_command()))
            print(f"  as {node.password_username}, the password is {node.password}")
        print("Ctrl-C ends them", flush=True)
        signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    # Importing LISA has turned standard output into lines of its log, on standard error.
    uninit_logger()
    try:
        sys.exit(main())
    except ContainerError as error:
        sys.exit(f"{error}")
