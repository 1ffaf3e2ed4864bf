"""A trivial command through LISA's own `Node.execute`.

`executor.node.execute("true")` in a container beside `node.execute("true")` on the bare node, the
same LISA code above both, as a user with sudo. LISA looks for a command's end every 10 ms
(`Process._wait_result` sleeps for 0.01 s between two looks), which is the floor of both.

LISA's connection to the node has Nagle's algorithm on; ours turns it off, also for what else LISA
does over that connection. So the bare node is measured on a connection that LISA alone has used,
and on one that we have used before.
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
