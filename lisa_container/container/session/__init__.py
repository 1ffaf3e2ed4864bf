"""Commands through a resident shell in the container, about a millisecond each.

The engine takes over 100 ms to start a process, most of it in runc. So a shell stays in the
container, gets requests over one stream of the engine, and starts the commands.
"""

from lisa_container.container.session.pool import SessionPool

__all__ = ["SessionPool"]
