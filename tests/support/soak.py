"""Length of long tests: full in `make soak`, a random sample in `make test`.

A long test does a part of its work, and of a group of dear tests some run (the mark `sampled`). The
sample depends on a seed, which each run prints at its start. With the seed in the environment, another
run takes the same sample.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable

import pytest

SOAK_VARIABLE = "LISA_CONTAINER_TEST_SOAK"
"""Environment variable: with 1, long tests run at full length."""

SAMPLE_VARIABLE = "LISA_CONTAINER_TEST_SAMPLE"
"""Environment variable: with 1, as in `make test`, only some tests with the mark `sampled` run."""

SEED_VARIABLE = "LISA_CONTAINER_TEST_SEED"

SOAKS = os.environ.get(SOAK_VARIABLE, "") == "1"
SAMPLES = os.environ.get(SAMPLE_VARIABLE, "") == "1" and not SOAKS
# In the environment, for the processes that run tests beside this one.
SEED = int(os.environ.setdefault(SEED_VARIABLE, str(random.randrange(10**9))))


def amount(all_of_it: int, sample: int) -> int:
    """Return the number of tries: `all_of_it` in `make soak`, else `sample`."""
    return all_of_it if SOAKS else sample


def dice(name: str) -> random.Random:
    """Return a random generator for one test, which depends on the seed.

    Args:
        name: name of the test.
    """
    return random.Random(f"{SEED} {name}")


def unchosen(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with the mark `sampled` that are not in this run's sample.

    A group is the tests of a file whose marks name it, or the variants of one function. A group with a
    slash in its name, such as "vm/boots", has tests of several files.
    """
    groups: dict[tuple[str, str], list[pytest.Item]] = {}
    amounts: dict[tuple[str, str], int] = {}
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            kept, name = (*mark.args, "")[:2]
            path, _, test = item.nodeid.partition("::")
            group = ("" if "/" in name else path, name or test.partition("[")[0])
            groups.setdefault(group, []).append(item)
            amounts[group] = kept
    rest = []
    for group, members in groups.items():
        chosen = dice("::".join(group)).sample(members, min(amounts[group], len(members)))
        rest += [item for item in members if item not in chosen]
    return rest
