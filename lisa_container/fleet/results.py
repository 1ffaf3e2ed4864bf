"""Results of one command in many members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lisa_container.container.result import CommandResult
from lisa_container.errors import FleetError
from lisa_container.escaping import quote_output

# Characters of the output of a command in an error.
_QUOTED = 300


class Results(Mapping[str, CommandResult]):
    """Results of one command by the names of the members, those of members without a result aside.

    Attributes:
        errors: Exceptions by the names of the members in which the command has no result.

    >>> results = fleet.map("nproc")
    >>> results["web-1"].stdout, results.failed
    """

    def __init__(
        self, results: Mapping[str, CommandResult], errors: Mapping[str, BaseException]
    ) -> None:
        """Keep the results.

        Args:
            results: Result of each member whose command has ended.
            errors: Exception of each other member.
        """
        self._results = dict(results)
        self.errors = dict(errors)

    def __getitem__(self, name: str) -> CommandResult:
        """Return the result of a member; raise its exception if it has none."""
        if name in self.errors:
            raise self.errors[name]
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the members that have a result."""
        return iter(self._results)

    def __len__(self) -> int:
        """Return the number of members that have a result."""
        return len(self._results)

    def __repr__(self) -> str:
        """Return the exit codes and errors."""
        codes = {name: result.exit_code for name, result in self._results.items()}
        return f"Results({codes}, errors={self.errors})"

    @property
    def failed(self) -> list[str]:
        """Names of the members whose command has no result, or another exit code than 0."""
        codes = [name for name, result in self._results.items() if result.exit_code != 0]
        return sorted([*self.errors, *codes])

    def raise_failures(self) -> None:
        """Raise one error with the failures of all members, if there are any.

        Raises:
            FleetError: The command has failed in a member.
        """
        reasons = {name: str(error) for name, error in self.errors.items()}
        for name, result in self._results.items():
            if result.exit_code != 0:
                output = quote_output(result.stderr or result.stdout, _QUOTED)
                reasons[name] = f"exit code {result.exit_code}: {output}"
        if reasons:
            raise FleetError("the command failed", reasons, len(self._results) + len(self.errors))
