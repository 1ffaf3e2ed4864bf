"""Parsing of a node's list of leases."""

from __future__ import annotations

import pytest

from lisa_container.engine.lease.report import Leases, Resource, State
from lisa_container.errors import EngineError

LINES = "me\t0\nlease\t0123456789abcdef\talive\t/run/x\trun\trunner\tsince\t0\nend\n"


def test_leases() -> None:
    leases = Leases.parse(LINES)
    assert leases.user == "0"
    assert leases.all["0", "0123456789abcdef"].state == "alive"


@pytest.mark.parametrize("output", ["", "me\t0\n", LINES[: -len("end\n")], LINES[:-2], "end\tx"])
def test_incomplete(output: str) -> None:
    """An incomplete list of leases is an error: a living run's resources could be removed."""
    with pytest.raises(EngineError, match="incomplete"):
        Leases.parse(output)


LEASE = "0123456789abcdef"
SINCE = "2023-11-14T22:13:19Z"
AHEAD = "2999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("since", "is_booting", "folder", "state"),
    [
        (SINCE, True, "", State.ALIVE),
        (AHEAD, True, "", State.ALIVE),  # the runner's clock may be wrong
        (SINCE, False, "", State.EXPIRED),
        ("", True, "", State.EXPIRED),  # no run's
        (SINCE, True, "dead", State.EXPIRED),
        (SINCE, True, "expired", State.EXPIRED),
        (AHEAD, False, "alive", State.ALIVE),
    ],
)
def test_soon_after_a_boot(since: str, is_booting: bool, folder: str, state: State) -> None:
    """Soon after a boot, a run counts as living unless its lease is known to be over."""
    output = "me\t0\n"
    if is_booting:
        output += "booted\n"
    if folder:
        output += f"lease\t{LEASE}\t{folder}\t/run/lisa_container.{LEASE}\tr\tr\ts\t0\n"
    resource = Resource("container", "id", "name", LEASE, "run", "runner", since)
    assert Leases.parse(f"{output}end\n").state_of(resource) is state


@pytest.mark.parametrize(
    ("mark", "is_ours"),
    [
        (f"0\tmade.{LEASE}.{'a' * 64}", True),
        (f"0\tmade.{LEASE}.token", True),
        (f"1000\tmade.{LEASE}.token", True),
        (f"1001\tmade.{LEASE}.token", False),
        (f"0\tmade.{'0' * 16}.token", False),
        (f"0\tkept.sha256:{'a' * 64}", False),
    ],
)
def test_images(mark: str, is_ours: bool) -> None:
    """Only root or the owner of the lease can list an image, whatever its labels."""
    image = Resource("image", f"sha256:{'a' * 64}", "x:1", LEASE, "", "", "", "1000", token="token")
    assert Leases.parse(f"me\t0\nmark\t{mark}\nend\n").prove(image) is is_ours
