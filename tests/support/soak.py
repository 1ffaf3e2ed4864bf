"""Length of long tests: full in `make soak`, a random sample in `make test`.

The sample depends on a seed, which each run prints at its start. With the seed in the environment,
another run takes the same sample.
"""

from __future__ import annotations

import os
import random
from typing import TypeVar

T = TypeVar("T")

SOAK_VARIABLE = "LISA_CONTAINER_TEST_SOAK"
"""Environment variable: with 1, long tests run at full length."""

SEED_VARIABLE = "LISA_CONTAINER_TEST_SEED"

SOAKS = os.environ.get(SOAK_VARIABLE, "") == "1"
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
