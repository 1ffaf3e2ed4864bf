"""Parameters of cases that have no value."""

from __future__ import annotations

from typing import Any

import pytest

from lisa_container import container_test
from lisa_container.cases.selection import find_parameter_mistake
from lisa_container.suite import _OF_SUITES


class Cases:
    def sound(self, container: Any, host: Any, log: Any, part_path: Any) -> None: ...

    def optional(self, container: Any, containr: Any = None, *more: Any, **rest: Any) -> None: ...

    def misspelt(self, containr: Any) -> None: ...

    def of_lisa(self, enviroment: Any) -> None: ...

    def several(self, container: Any, hosts: Any) -> None: ...

    def strange(self, banana: Any) -> None: ...

    def bare(self, container) -> None: ...  # type: ignore[no-untyped-def]

    @container_test(image="a")
    def decorated(self, node: Any, contaner: Any) -> None: ...


@pytest.mark.parametrize("name", ["sound", "optional"])
def test_sound(name: str) -> None:
    assert find_parameter_mistake(getattr(Cases, name), name, _OF_SUITES) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("misspelt", "parameter: given 'containr'; did you mean 'container'? (legal: container,"),
        ("of_lisa", "given 'enviroment'; did you mean 'environment'? (legal: "),
        ("several", "given 'hosts'; did you mean 'host'? (legal: "),
        ("strange", "given 'banana'; legal: container, containers, host, node, environment, "),
        ("bare", "parameter 'container': it has no annotation"),
        ("decorated", "given 'contaner'; did you mean 'container'?"),
    ],
)
def test_mistakes(name: str, says: str) -> None:
    error = find_parameter_mistake(getattr(Cases, name), f"S.{name}", _OF_SUITES)
    assert error is not None and str(error).startswith(f"case 'S.{name}', "), error
    assert says in str(error)


def test_no_annotation_needed() -> None:
    assert find_parameter_mistake(Cases.bare, "bare", _OF_SUITES, given=["container"]) is None
