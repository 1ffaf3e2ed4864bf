"""Commands through a resident shell in the container, about a millisecond each.

Starting a process through the engine costs over 100 ms, most of it in runc. So a shell stays in the
container, fed over one stream of the engine, and starts the commands itself.
"""

from lisa_container.session.pool import SessionPool

__all__ = ["SessionPool"]
