"""Exit codes of `lisa-container`, beside 0."""

FAILED = 1
"""What was asked for could not be done, or a check found mistakes."""

UNREACHABLE = 2
"""A wrong command line, or a node or engine that does not answer."""

INTERRUPTED = 130
"""Ctrl-C: 128 and SIGINT's number, as a shell has it."""
