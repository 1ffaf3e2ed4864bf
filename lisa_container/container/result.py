"""Result of a command in a container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from lisa.util.process import ExecutableResult

from lisa_container.errors import ConfigError, SnapshotError
from lisa_container.snapshots import assert_output_matches
from lisa_container.snapshots.normalise import RuleSet


@dataclass
class CommandResult(ExecutableResult):
    """LISA's `ExecutableResult`, with the output as bytes too.

    `stdout` and `stderr` are text without surrounding white space and colour codes, as LISA gives
    them for any node. `stdout_bytes` and `stderr_bytes` are the unchanged output.
    """

    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    oom_killed: bool = False
    """Whether the kernel killed a process of the command at the container's memory limit."""
    left_processes: bool = False
    """Whether processes that the command started in the background run on. Only commands in a
    resident shell report it."""
    is_cut: bool = False
    """Whether stdout or stderr is only the last MiB; a callback or a file got the whole output."""

    def assert_exit_code(
        self,
        expected_exit_code: int | list[int] = 0,
        message: str = "",
        include_output: bool = True,
    ) -> Any:
        """Raise AssertionError unless the exit code is the expected one.

        Args:
            expected_exit_code: Expected exit code, or a list of them.
            message: Beginning of the error's message.
            include_output: Whether the message has the output. The default differs from LISA's.
        """
        if self.oom_killed:
            message = f"{message}\nout of memory: the container's memory limit was reached".strip()
        return super().assert_exit_code(expected_exit_code, message, include_output)

    def assert_output_matches(
        self,
        name: str,
        stream: str = "stdout",
        folder: str | PurePath | None = None,
        rules: RuleSet | None = None,
    ) -> None:
        """Compare the output, normalised, with the snapshot of this name.

            container.run("apt-get install -y hello").assert_output_matches("install_hello")

        Args:
            name: Name of the snapshot.
            stream: `stdout` or `stderr`.
            folder: Folder of the snapshots. In a case of a `ContainerTestSuite`, or with
                `@container_test`, the default is `snapshots/<suite>` beside the suite's file; in a
                test for pytest, `snapshots/<file>` beside the test's file.
            rules: Rules of normalisation; the default is the suite's `output_rules`, else
                `default_rules()`.

        Raises:
            SnapshotMismatchError: The output differs (an `AssertionError`).
            SnapshotMissingError: No such snapshot exists yet (an `AssertionError`).
            SnapshotError: The snapshot cannot be read or written, or the output is not complete.
            ConfigError: An argument is wrong, or the folder is not given and there is no suite.
        """
        outputs = {"stdout": self.stdout_bytes, "stderr": self.stderr_bytes}
        if stream not in outputs:
            raise ConfigError(
                f"snapshot '{name}', stream: given {stream!r}; legal: stdout or stderr"
            )
        if self.is_cut:
            raise SnapshotError(
                name,
                "cannot be compared: only the end of the output was kept. Run the command with "
                "keep_output=True",
            )
        assert_output_matches(outputs[stream], name, folder, rules)
