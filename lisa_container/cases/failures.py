"""Functions to call at the moment when a case fails, before evidence is taken or anything ends."""

from __future__ import annotations

from typing import Callable

from lisa_container.cases.current import CurrentCase

AtFailure = Callable[[CurrentCase], None]
"""Function that gets the failed case. It may be called again for the same failure."""

_functions: list[AtFailure] = []


def call_at_failure(function: AtFailure) -> None:
    """Call a function from now on when a case fails in code of ours.

    LISA's own reports of failures come later, after the case's clean-up.

    Args:
        function: Function to call. Its exceptions end the clean-up of the case.
    """
    _functions.append(function)


def call_no_more(function: AtFailure) -> None:
    """End what `call_at_failure` has begun.

    Args:
        function: The function.
    """
    if function in _functions:
        _functions.remove(function)


def report_failure(case: CurrentCase | None) -> None:
    """Call the functions for a case that has failed just now.

    Args:
        case: The case; None does nothing.
    """
    if case is not None:
        for function in list(_functions):
            function(case)
