"""The config's field `ready`: legal and illegal checks."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from lisa_container.config import ContainerTestConfig
from lisa_container.config.readiness import (
    AllCheck,
    AnyCheck,
    CommandCheck,
    HealthCheck,
    HttpCheck,
    LogCheck,
    PortCheck,
)
from lisa_container.errors import ConfigError

SERVICE = ContainerTestConfig(image="web", command="serve")


@pytest.mark.parametrize(
    ("given", "checks"),
    [
        ("", []),
        ("test -e /up", [CommandCheck("test -e /up")]),
        ({"port": 80}, [PortCheck(80)]),
        ({"http": 80}, [HttpCheck(80, "/", 200, "")]),
        (
            {"http": 80, "path": "/up?a=b", "status": 503, "body": "^no"},
            [HttpCheck(80, "/up?a=b", 503, "^no")],
        ),
        ({"log": "up$"}, [LogCheck("up$")]),
        ({"healthcheck": True}, [HealthCheck()]),
        (["true", {"port": 80}], [CommandCheck("true"), PortCheck(80)]),
        (
            {"any": ["true", {"all": [{"port": 1}, {"port": 2}]}]},
            [AnyCheck((CommandCheck("true"), AllCheck((PortCheck(1), PortCheck(2)))))],
        ),
    ],
)
def test_legal(given: Any, checks: list[Any]) -> None:
    config = SERVICE.merged(ready=given)
    assert list(config.ready_checks.checks) == checks
    assert ContainerTestConfig.from_dict(config.to_dict()) == config
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(ContainerTestConfig.from_dict(config.to_dict()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "ready: given 5; legal: a command"),
        ({}, "ready: given {}; legal: a command"),
        ([], "ready: given []; legal: a list of checks"),
        ([""], "ready: given ''; legal: a command"),
        ("a\0b", "ready: given"),
        ({"prot": 80}, "ready: given 'prot'; did you mean 'port'?"),
        ({"port": 0}, "ready, port: given 0; legal: a TCP port"),
        ({"port": "80"}, "ready, port: given '80'; legal: a TCP port"),
        ({"port": True}, "ready, port: given True; legal: a TCP port"),
        ({"port": 80, "path": "/"}, "ready, check 'port': given 'path'"),
        ({"http": 70000}, "ready, http: given 70000; legal: a TCP port"),
        ({"http": 80, "path": "up"}, "ready, path: given 'up'; legal: a path that begins with '/'"),
        ({"http": 80, "path": "/a b"}, "ready, path: given '/a b'"),
        ({"http": 80, "path": "/\r\nX: y"}, "ready, path: given"),
        ({"http": 80, "status": 99}, "ready, status: given 99; legal: a status code"),
        ({"http": 80, "body": "("}, "ready, body: given '('; legal: a regular expression"),
        ({"log": ""}, "ready, log: given ''; legal: a regular expression"),
        ({"log": 5}, "ready, log: given 5; legal: a regular expression"),
        ({"healthcheck": False}, "ready, healthcheck: given False; legal: true"),
        ({"any": "true"}, "ready, any: given 'true'; legal: a list of checks"),
        ({"any": []}, "ready, any: given []; legal: a list of checks"),
        ({"all": [{"port": 0}]}, "ready, all, port: given 0; legal: a TCP port"),
    ],
)
def test_illegal(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SERVICE.merged(ready=given)
    assert str(caught.value).startswith(message), caught.value


@pytest.mark.parametrize("given", [{"log": "up"}, {"healthcheck": True}, {"any": [{"log": "up"}]}])
def test_placeholder_has_no_log(given: Any) -> None:
    """A process that only keeps the container running has no log and no HEALTHCHECK."""
    with pytest.raises(ConfigError, match="give init: image"):
        ContainerTestConfig(image="web", ready=given)
    assert ContainerTestConfig(image="web", ready=given, init="image").ready


def test_no_network() -> None:
    with pytest.raises(ConfigError, match="network_mode is 'none'"):
        SERVICE.merged(ready={"http": 80}, network_mode="none")
    assert SERVICE.merged(ready={"port": 80}, network_mode="none").ready


def test_merged_as_a_whole() -> None:
    config = SERVICE.merged(ready={"http": 80, "path": "/a"}).merged(ready={"port": 80})
    assert config.ready == {"port": 80}
    assert config.merged(ready="true").ready == "true"


@pytest.mark.parametrize("network", ["bridge", "host", "none", "container:web"])
def test_aliases_need_a_named_network(network: str) -> None:
    with pytest.raises(ConfigError, match=f"it is '{network}'"):
        ContainerTestConfig(network_mode=network, network_aliases=["db"])
    with pytest.raises(ConfigError, match="since network_aliases names one"):
        ContainerTestConfig(image="web", network_aliases=["db"]).require_image()
    with pytest.raises(ConfigError, match="network_aliases: given 'a b'"):
        ContainerTestConfig(network_aliases=["a b"])
