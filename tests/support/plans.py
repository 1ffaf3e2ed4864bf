"""Helpers for tests of plans."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from lisa.node import Node

from lisa_container.plan import Plan, PlanResult, load_plan, run_plan

Write = Callable[[str], Plan]
Run = Callable[..., PlanResult]

SAMPLE = r"""
container: {image: lisa_container/busybox, environment: {GIVEN: "1"}}
files: {/srv/tool: {content: "#!/bin/sh\necho tool $1\n", mode: "0755"}}
setup: [{name: before, run: "cd /srv; unset GIVEN; export A='odd \" value'"}]
steps:
  - {name: carried, run: 'echo "$PWD ${GIVEN-unset} $A"', expect: {stdout: /srv unset odd " value}}
  - {name: words, run: [./tool, x], expect: {stdout: tool x}}
  - {name: script, script: 'cat; echo x > made', stdin: text, expect: {stdout: text}}
  - {name: alone, isolated: true, run: ls /srv; pwd, expect: {stdout: "tool\n/"}}
  - parallel:
    - {name: hangs, run: sleep 2225, timeout: 1}
    - {name: killed, run: 'kill -9 $$', signal: KILL}
  - {name: file, always: true, run: "true", expect: {files: {/srv/made: {equals: x, mode: "0644"}}}}
artifacts: [/srv/m*]
cleanup: [{name: after, run: ps -o args, expect: {stdout: {not_contains: sleep 2225}}}]
"""
"""Plan with most kinds of steps, for several kinds of nodes; all pass but `hangs`."""


def run_sample(node: Node, folder: Path) -> None:
    """Run the sample plan and check its results."""
    path = folder / "sample.yml"
    path.write_text(SAMPLE, encoding="utf-8")
    result = run_plan(load_plan(path), node, folder / "kept")
    assert [step.name for step in result.failed] == ["hangs"], [x.message for x in result.failed]
    assert "skipped" not in statuses(result).values()
    assert (folder / "kept" / "files" / "srv" / "made").read_text() == "x\n"


def statuses(result: PlanResult) -> dict[str, str]:
    """Return the status of each step by its name."""
    return {step.name: step.status.name.lower() for step in result.steps}


def message(result: PlanResult, step: str) -> str:
    """Return the message of a step's result."""
    (text,) = [each.message for each in result.steps if each.name == step]
    return text
