"""`lisa-container reap`: remove the resources of dead runs."""

from __future__ import annotations

import argparse
import dataclasses

from lisa_container.cli.codes import FAILED
from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.output import complain, say
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Resource, State
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.errors import ConfigError
from lisa_container.images.caches import caches, remove_cache


def run(arguments: argparse.Namespace) -> int:
    """Remove the resources of dead runs, and print them; return the exit code."""

    def reap_one(engine: Engine) -> int:
        findings = Findings.of(engine)
        if arguments.only:
            findings = _narrowed(findings, arguments.only, engine)
        dead = findings.dead_leases
        with_kept = arguments.kept or bool(arguments.only)
        if arguments.dry_run:
            results = [(item, "") for item in findings.list_removable(with_kept)]
        else:
            results = sweep(engine, findings, with_kept)
        verb = "would remove" if arguments.dry_run else "removed"
        for item, reason in results:
            if reason:
                complain(f"{_describe(item, engine)} stays: {reason}")
            else:
                say(f"{verb} {_describe(item, engine)}")
        for lease in dead:
            say(f"{verb} lease {lease.id} of run '{lease.run}' on '{engine.name}'")
        count = len(results) + len(dead)
        for name in caches(engine) if arguments.caches else []:
            if arguments.dry_run or remove_cache(engine, name):
                say(f"{verb} image '{name}' on '{engine.name}'")
                count += 1
        if not count:
            say(f"nothing to remove on '{engine.name}'")
        return FAILED if any(reason for _, reason in results) else 0

    return for_each_engine(arguments, reap_one)


def _describe(item: Resource, engine: Engine) -> str:
    return f"{item.what} '{item.name}' of run '{item.run}' on '{engine.name}'"


def _narrowed(findings: Findings, names: list[str], engine: Engine) -> Findings:
    """Return findings of which only the resources with some names or ids are to be removed.

    Raises:
        ConfigError: A name stands for no resource, or for one of a living run.
    """
    chosen: set[str] = set()
    for name in names:
        found = [x for x in findings.resources if name == x.name or x.id.startswith(name)]
        found = [x for x in found if name == x.name] or found
        if not found:
            legal = ", ".join(x.name for x in findings.list_removable(True)) or "none is there"
            raise ConfigError(
                f"only: given '{name}', which no run left on '{engine.name}'; legal: {legal}"
            )
        if any(findings.leases.state_of(x) is State.ALIVE for x in found):
            raise ConfigError(f"only: '{name}' on '{engine.name}' belongs to a living run")
        chosen |= {x.id for x in found}
    return dataclasses.replace(findings, chosen=frozenset(chosen))
