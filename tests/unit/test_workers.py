"""Test the worker threads: order, number, failures and interruption."""

from __future__ import annotations

import threading

import pytest

from lisa_container.engine.workers import Workers


def test_results_and_failures_by_number() -> None:
    workers: Workers[int, float] = Workers(lambda number: 12 / number, "test")
    workers.add([1, 0], 2)
    workers.add([4, 0, 6], 1)
    workers.run()
    assert workers.results == {0: 12, 2: 3, 4: 2}
    assert sorted(workers.failures) == [1, 3]
    assert all(isinstance(error, ZeroDivisionError) for error in workers.failures.values())


def test_raise_failure() -> None:
    """The first failure is raised, and its message lists the different ones."""
    barrier = threading.Barrier(3)

    def job(number: int) -> None:
        barrier.wait()
        raise ValueError(f"node {min(number, 1)} is away")

    workers: Workers[int, None] = Workers(job, "test")
    workers.raise_failure()
    workers.add([0, 1, 2], 3)
    workers.run()
    with pytest.raises(ValueError, match="is away") as caught:
        workers.raise_failure()
    lines = str(caught.value).splitlines()
    assert lines[1:2] == ["Others that began at the same time failed too:"]
    assert {lines[0], *(line[2:] for line in lines[2:])} == {"node 0 is away", "node 1 is away"}


def test_each_queue_has_its_own_threads() -> None:
    """Two queues with two threads each run exactly four jobs at the same time."""
    together, lock = threading.Barrier(4), threading.Lock()
    running, most = 0, 0

    def job(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(30)
        with lock:
            running -= 1
        together.wait(30)

    workers = Workers(job, "test")
    workers.add(range(4), 2)
    workers.add(range(4), 2)
    workers.run()
    assert not workers.failures
    assert (len(workers.results), most) == (8, 4)


@pytest.mark.parametrize("stops", [True, False])
def test_after_a_failure(stops: bool) -> None:
    workers: Workers[int, float] = Workers(lambda number: 1 / number, "t", stops_at_failure=stops)
    workers.add([1, 0, 2, 3], 1)
    workers.run()
    assert sorted(workers.results) == ([0] if stops else [0, 2, 3])
    assert sorted(workers.failures) == [1]


def test_interrupted() -> None:
    """An exception in the waiting thread lets each thread finish only its present item."""
    begun, finish = threading.Event(), threading.Event()

    def job(number: int) -> int:
        begun.set()
        assert finish.wait(30)
        return number

    class Interrupted(Workers[int, int]):
        def join(self) -> None:
            assert begun.wait(30)
            raise KeyboardInterrupt

    workers = Interrupted(job, "test")
    workers.add(range(10), 1)
    with pytest.raises(KeyboardInterrupt):
        workers.run()
    assert workers.stopping.is_set()
    finish.set()
    Workers.join(workers)
    assert workers.results == {0: 0}
