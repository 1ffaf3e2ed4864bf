"""Engines found by their processes."""

from __future__ import annotations

import pytest

from lisa_container.engine.found import describe, read_found

DOCKER = (
    "12\tdockerd\t/usr/bin/dockerd -H unix:///srv/a.sock \t /srv/a.sock /run/docker/metrics.sock\n"
)
UNKNOWN = "13\tdockerd\tdockerd -H fd:// \t\n"
PODMAN = "14\tpodman\tpodman system service -t 0 \t /run/other.sock /run/more.sock\n"


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("", ""),
        ("sudo: hello\n\t\n", ""),
        (
            DOCKER,
            "'dockerd' (pid 12) runs and listens at /srv/a.sock. Reach it there (on this machine: "
            "DOCKER_HOST=unix:///srv/a.sock)",
        ),
        (UNKNOWN, "'dockerd' (pid 13) runs and was started as 'dockerd -H fd://'. Have it listen"),
        (PODMAN, "'podman' (pid 14) runs and listens at /run/other.sock and /run/more.sock. Reach"),
        (UNKNOWN + PODMAN, "DOCKER_HOST=unix:///run/other.sock"),
    ],
)
def test_describe(output: str, says: str) -> None:
    described = describe(read_found(output))
    assert says in described and bool(described) == bool(says)
