"""Exit codes of `lisa-container` other than 0."""

FAILED = 1
"""The job could not be done, or a check found mistakes."""

UNREACHABLE = 2
"""A wrong command line, or a node or engine that does not answer."""

INTERRUPTED = 130
"""Ctrl-C: 128 plus SIGINT's number, as in a shell."""

BROKEN_PIPE = 141
"""The reader of standard output has gone: 128 plus SIGPIPE's number, as in a shell."""
