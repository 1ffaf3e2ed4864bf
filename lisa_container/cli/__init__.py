"""Command `lisa-container`: resources of runs on nodes, history of runs, and plans.

    lisa-container ps root@10.0.0.4 --identity ~/.ssh/id_ed25519
    lisa-container reap --runbook runbooks/remote.yml -v address:10.0.0.4
    lisa-container plan check testsuites/plans/*.yml
    lisa-container plan run testsuites/plans/jq.yml root@10.0.0.4 --identity ~/.ssh/id_ed25519

Exit codes: 0; 1 if something could not be removed, or a plan is invalid or fails; 2 for a wrong
command line, or a node or engine that does not answer.
"""

from __future__ import annotations

import sys

from lisa_container.cli import output
from lisa_container.cli.arguments import parse
from lisa_container.cli.codes import BROKEN_PIPE, INTERRUPTED, UNREACHABLE


def main(words: list[str] | None = None) -> int:
    """Run the command.

    Args:
        words: words of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    output.prepare()
    try:
        arguments = parse(words)
        code = int(arguments.run(arguments))
        output.close()
        return code
    except BrokenPipeError:
        output.discard()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        output.complain("interrupted")
        return INTERRUPTED
    except Exception as error:
        if not _is_explained(error):
            raise
        output.complain(error)
        return UNREACHABLE


def _is_explained(error: Exception) -> bool:
    """Return whether the message of an error suffices. LISA is not imported for this."""
    lisa = sys.modules.get("lisa.util")
    return isinstance(error, OSError) or (
        lisa is not None and isinstance(error, lisa.LisaException)
    )
