"""A trivial command through LISA's own `Node.execute`.

`executor.node.execute("true")` in a container is compared with `node.execute("true")` on the bare
node, as a user with sudo. Both use the same LISA code. LISA checks every 10 ms whether a command
has ended (`Process._wait_result` sleeps for 0.01 s), which is the lower bound for both.

LISA leaves Nagle's algorithm on for its SSH connection. lisa_container turns it off, so LISA's own
commands over that connection become faster too. The bare node is therefore measured on a connection
that only LISA has used, and on one that lisa_container has used before.
"""

from __future__ import annotations

import contextlib
from functools import partial

from lisa.node import Node

from bench.result import Line
from bench.stage import BUSYBOX, Stage
from bench.timing import interleave, repeated
from lisa_container import ContainerExecutor, ContainerTestConfig

OURS = 'executor.node.execute("true")'
BARE = 'node.execute("true") on the bare node'
TUNED = f"{BARE}, over our connection"


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    with contextlib.ExitStack() as stack:
        untouched = stack.enter_context(stage.user.node())
        node = stack.enter_context(stage.user.node())
        config = ContainerTestConfig(image=BUSYBOX)
        inside = stack.enter_context(ContainerExecutor(node, config)).node
        nodes: dict[str, Node] = {OURS: inside, BARE: untouched, TUNED: node}
        ways = {name: repeated(partial(_run, each), 5) for name, each in nodes.items()}
        found = interleave(ways, rounds=stage.pick(20, 2))
    return [
        Line(
            OURS,
            found[OURS].median(),
            other,
            found[other].median(),
            samples=len(found[OURS].samples[""]),
        )
        for other in (BARE, TUNED)
    ]


def _run(node: Node) -> None:
    assert node.execute("true").exit_code == 0
