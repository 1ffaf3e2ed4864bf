"""The command `lisa-container`: what runs left on nodes, its removal, and plans.

    lisa-container ps root@10.0.0.4 --identity ~/.ssh/id_ed25519
    lisa-container reap --runbook runbooks/remote.yml -v address:10.0.0.4
    lisa-container plan check testsuites/plans/*.yml
    lisa-container plan run testsuites/plans/jq.yml root@10.0.0.4 --identity ~/.ssh/id_ed25519

Exit codes: 0; 1 where something could not be removed, or a plan is wrong or fails; 2 for a wrong
command line, or a node or engine that does not answer.
"""

from __future__ import annotations

import sys

from lisa.util import LisaException
from lisa.util.logger import uninit_logger

from lisa_container.cli.arguments import parse
from lisa_container.cli.codes import INTERRUPTED, UNREACHABLE


def main(words: list[str] | None = None) -> int:
    """Run the command.

    Args:
        words: of the command line; those of the process by default.

    Returns:
        The exit code.
    """
    # Importing LISA has turned standard output into lines of its log.
    uninit_logger()
    arguments = parse(words)
    try:
        return int(arguments.run(arguments))
    except LisaException as error:
        print(error, file=sys.stderr)
        return UNREACHABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
