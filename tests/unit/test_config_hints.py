"""Errors of configs that say what to write instead."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any, Callable

import pytest

from lisa_container import ContainerExecutor, ContainerTestSuite, container_test
from lisa_container.config import ContainerTestConfig
from lisa_container.config.build import BuildSpec
from lisa_container.config.settings import ContainerSettings, Mirror, RegistrySettings
from lisa_container.errors import ConfigError
from lisa_container.install import Tool

CONFIG = ContainerTestConfig(image="debian:12", volumes={"/srv": "/data"}, cap_add=["SYS_TIME"])


def _assign(config: Any) -> None:
    config.volumes["/host"] = "/"


def _assign_default(config: Any) -> None:
    config.environment["TOKEN"] = "not to be shown"


def _update(config: Any) -> None:
    config.tmpfs.update({"/run": ""})


def _delete(config: Any) -> None:
    del config.volumes["/srv"]


def _join(config: Any) -> None:
    config.volumes |= {"/host": "/"}


def _append(config: Any) -> None:
    config.cap_add.append("SYS_ADMIN")


def _replace(config: Any) -> None:
    config.cap_add[0] = "SYS_ADMIN"


def _extend(config: Any) -> None:
    config.devices += ["/dev/null"]


def _set_field(config: Any) -> None:
    config.image = "debian:13"


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (_assign, "volumes: .*config.merged(volumes={'/host': …})"),
        (_assign_default, "environment: .*config.merged(environment={'TOKEN': …})"),
        (_update, "tmpfs: .*config.merged(tmpfs={…})"),
        (_delete, "volumes: .*config.merged(volumes={…})"),
        (_join, "volumes: .*config.merged(volumes={…})"),
        (_append, "cap_add: .*config.merged(cap_add=[…])"),
        (_replace, "cap_add: .*config.merged(cap_add=[…])"),
        (_extend, "devices: .*config.merged(devices=[…])"),
        (_set_field, "image: .*config.merged(image=…)"),
    ],
)
def test_a_config_cannot_be_changed(change: Callable[[Any], None], advice: str) -> None:
    for config in (CONFIG, copy.deepcopy(CONFIG), pickle.loads(pickle.dumps(CONFIG))):
        with pytest.raises(ConfigError) as caught:
            change(config)
        begin, _, end = advice.partition(".*")
        message = str(caught.value)
        assert message.startswith(f"{begin}a config cannot be changed.")
        assert message.endswith(end)
        assert "not to be shown" not in message
        # As the errors of a frozen dataclass and of a mapping without assignment.
        assert isinstance(caught.value, (FrozenInstanceError, TypeError))
        assert config == CONFIG


@pytest.mark.parametrize(
    ("volumes", "advice"),
    [
        ({"/host": "/"}, "{'/': '/host'}"),
        ({"/srv": "/x/.."}, "{'/': '/srv'}"),
        ({"/host": {"bind": "/", "mode": "ro"}}, "{'/': '/host'}"),
    ],
)
def test_sides_of_a_volume_that_are_swapped(volumes: Any, advice: str) -> None:
    for make in (
        lambda: ContainerTestConfig(volumes=volumes),
        lambda: CONFIG.merged(volumes=volumes),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        message = str(caught.value)
        assert message.startswith("volumes, of '/")
        assert f"if they are swapped, write {advice}" in message


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: ContainerTestConfig(imagee="x"),
            "ContainerTestConfig, unknown field: given 'imagee'; did you mean 'image'? (legal: image, ",
        ),
        (
            lambda: ContainerTestConfig("x", zzz=1),
            "ContainerTestConfig, unknown field: given 'zzz'; legal: image, registry, ",
        ),
        (
            lambda: BuildSpec(contxt="."),
            "BuildSpec, unknown field: given 'contxt'; did you mean 'context'? (legal: context, ",
        ),
        (
            lambda: ContainerTestConfig(build={"contxt": "."}),
            "build, key: given 'contxt'; did you mean 'context'? (legal: context, ",
        ),
        (
            lambda: ContainerSettings(mirror=()),
            "ContainerSettings, unknown field: given 'mirror'; did you mean 'mirrors'? (legal: ",
        ),
        (
            lambda: RegistrySettings(host="a", user="b"),
            "RegistrySettings, unknown field: given 'user'; did you mean 'username'? (legal: host, ",
        ),
        (
            lambda: Mirror(sorce="a", target="b"),
            "Mirror, unknown field: given 'sorce'; did you mean 'source'? (legal: source, target)",
        ),
        (
            lambda: Tool("x", verison="1"),
            "Tool, unknown field: given 'verison'; did you mean 'version'? (legal: name, ",
        ),
        (
            lambda: container_test(imagee="x"),
            "unknown field: given 'imagee'; did you mean 'image'? (legal: image, ",
        ),
        (
            lambda: CONFIG.merged(environmnt={}),
            "unknown field: given 'environmnt'; did you mean 'environment'? (legal: image, ",
        ),
    ],
)
def test_unknown_fields_have_the_nearest_name_first(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image": "debian:12", "environment": {"A": "hidden"}}, "given dict; legal: "),
        ("debian:12", "given str; legal: a ContainerTestConfig, such as ContainerTestConfig("),
        (None, "given None; legal: a ContainerTestConfig, such as "),
    ],
)
def test_what_is_no_config(given: Any, says: str) -> None:
    class Wrong(ContainerTestSuite):
        def _get_container_config(self) -> Any:
            return given

    suite = Wrong.__new__(Wrong)  # LISA gives its constructor a run's metadata
    node: Any = None
    for make, where in (
        (
            lambda: suite.container_config,
            "suite 'Wrong', return value of _get_container_config(): ",
        ),
        (lambda: ContainerExecutor(node, given), "config: "),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        message = str(caught.value)
        assert message.startswith(where + says)
        assert "hidden" not in message


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("environment", {"A": "secret\ud800"}, "environment, value of 'A': "),
        ("working_dir", "/\ud800", "working_dir: "),
        ("command", ["echo", "\ud800"], "command: "),
        ("labels", {"\ud800": ""}, "labels, key: "),
        ("build", {"context": "/", "args": {"A": "secret\ud800"}}, "build, value of 'args', "),
    ],
)
def test_halves_of_characters(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ContainerTestConfig(**{field: value})
    assert str(caught.value).startswith(says) and "secret" not in str(caught.value)
    assert "given a text with '\\ud800', half of a character" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environment", {"A": "secret\udc80"}),
        ("command", ["\udc80"]),
        ("volumes", {"/\udcff": "/a"}),
    ],
)
def test_bytes_the_engine_does_not_carry(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field}.*a byte outside of UTF-8") as caught:
        ContainerTestConfig(**{field: value})
    assert "secret" not in str(caught.value)
    assert ContainerTestConfig(artifacts=["/a\udc80"], ready="test -e '/\udc80'").ready
