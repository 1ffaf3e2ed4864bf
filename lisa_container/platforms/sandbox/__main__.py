"""Command line of the sandbox.

    python -m lisa_container.platforms.sandbox check     # list what is missing; 1 if anything is
    python -m lisa_container.platforms.sandbox packages  # list the required Debian packages
    python -m lisa_container.platforms.sandbox up -n 2   # run two nodes until Ctrl-C

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
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lisa_container.platforms.sandbox")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="list what this machine lacks for a sandbox")
    commands.add_parser("packages", help="list the Debian packages that a sandbox needs")
    up = commands.add_parser("up", help="start nodes and stop them on Ctrl-C")
    up.add_argument("-n", "--nodes", type=int, default=1, help="number of nodes")
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
    # SIGINT and SIGTERM end sigwait(). The nodes end after that.
    signals = {signal.SIGINT, signal.SIGTERM}
    with Sandbox(config) as sandbox:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for node in sandbox.nodes:
            print(shlex.join(node.ssh_command()))
            print(f"  as {node.password_username}, the password is {node.password}")
        print("press Ctrl-C to stop the nodes", flush=True)
        signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    # Importing LISA redirects standard output to its log on standard error.
    uninit_logger()
    try:
        sys.exit(main())
    except ContainerError as error:
        sys.exit(f"{error}")
