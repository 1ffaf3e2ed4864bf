"""`lisa-container faults`: list or end injected faults."""

from __future__ import annotations

import argparse

from lisa_container.chaos.listing import ListedFault, end_fault, list_faults
from lisa_container.cli.codes import FAILED
from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.output import complain, say, say_json, say_table
from lisa_container.engine.client import Engine
from lisa_container.errors import FaultError

_COLUMNS = ("id", "kind", "container", "begun", "node")
_ALL = "all"


def run(arguments: argparse.Namespace) -> int:
    """Print or end the faults on the nodes; return the exit code."""
    if arguments.end:
        return _end(arguments)
    faults: list[ListedFault] = []
    looked_at: list[str] = []

    def look(engine: Engine) -> None:
        faults.extend(list_faults(engine))
        looked_at.append(f"'{engine.name}'")

    code = for_each_engine(arguments, look)
    if arguments.json:
        say_json([{name: getattr(each, name) for name in _COLUMNS} for each in faults])
    elif faults:
        say_table(_COLUMNS, [[getattr(each, name) for name in _COLUMNS] for each in faults])
    elif looked_at:
        say(f"no run has a fault on {', '.join(looked_at)}")
    return code


def _end(arguments: argparse.Namespace) -> int:
    wanted, ended, failed = set(arguments.end), set[str](), set[str]()

    def end(engine: Engine) -> None:
        for fault in list_faults(engine):
            if fault.id not in wanted and _ALL not in wanted:
                continue
            try:
                end_fault(engine, fault)
            except FaultError as error:
                failed.add(fault.id)
                complain(error)
            else:
                ended.add(fault.id)
                say(f"ended {fault.kind} ({fault.id}) of '{fault.container}' on '{fault.node}'")

    code = for_each_engine(arguments, end)
    for id in sorted(wanted - ended - failed - {_ALL}):
        complain(f"no fault has the id '{id}'")
        failed.add(id)
    if not ended and not failed:
        complain("there is no fault to end")
    return max(code, FAILED if failed or not ended else 0)
