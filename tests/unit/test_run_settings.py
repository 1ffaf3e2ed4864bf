"""Settings of a run: legal values, and their end with the run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lisa import notifier, schema, secret
from lisa.util import constants, subclasses

from lisa_container.config import ContainerSettings, Mirror, RegistrySettings
from lisa_container.config.current import current_settings, use_settings
from lisa_container.errors import ConfigError
from lisa_container.notifiers.settings import SETTINGS_TYPE

HOST = "registry.example.com:5000"
PASSWORD = 'it\'s a "pass" word\\'


@pytest.fixture(autouse=True)
def of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notifier, "_notifiers", [])
    yield
    notifier.finalize()
    use_settings(ContainerSettings())
    secret.reset()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=tests -days 2"
    made = ["openssl", *words.split(), "-keyout", str(folder / "key.pem")]
    subprocess.run([*made, "-out", str(folder / "ca.pem")], check=True, capture_output=True)
    return folder / "ca.pem"


def test_all_fields(certificate: Path) -> None:
    settings = ContainerSettings.from_mapping(
        {
            "registries": [
                {"host": HOST, "username": "reader", "password": PASSWORD, "ca": "ca.pem"},
                {"host": "docker.io", "username": None, "password": None},
            ],
            "mirrors": [{"from": "docker.io/library", "to": "127.0.0.1:5000/library/"}],
        },
        folder=certificate.parent,
    )
    assert settings == ContainerSettings(
        (
            RegistrySettings(HOST, "reader", PASSWORD, certificate.read_text()),
            RegistrySettings("docker.io"),
        ),
        (Mirror("docker.io/library", "127.0.0.1:5000/library"),),
    )
    assert PASSWORD not in repr(settings)
    assert ContainerSettings.from_mapping({"registries": None}) == ContainerSettings()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"registry": []},
            r"unknown field: given 'registry'; did you mean 'registries'\? \(legal: registries, mirrors",
        ),
        ({"registries": {}}, "registries: given dict; legal: a list"),
        ({"registries": ["x"]}, r"registries\[0\]: given str; legal: a mapping of host, username"),
        ({"registries": [{"user": "x"}]}, r"registries\[0\]: unknown field: given 'user'"),
        ({"registries": [{"ca": "x"}]}, r"registries\[0\].host: given None; legal: a registry"),
        ({"registries": [{"host": "example"}]}, r"\[0\].host: given 'example'; legal: a registry"),
        ({"registries": [{"host": f"https://{HOST}"}]}, "leave the scheme out"),
        (
            {"registries": [{"host": "user:4321@x.example.com"}]},
            "given '\\*\\*\\*@x.*as 'username'",
        ),
        ({"registries": [{"host": "https://user:4321@x.example.com/v2"}]}, "//\\*\\*\\*@x.example"),
        ({"registries": [{"host": "index.docker.io/v1"}]}, "did you mean 'docker.io'"),
        ({"mirrors": [{"from": "docker.io", "to": 7}]}, r"mirrors\[0\].to: given 7"),
        (
            {"registries": [{"host": HOST, "username": "x"}]},
            "given a username without a password; legal: both or none",
        ),
        ({"registries": [{"host": HOST, "password": "x"}]}, "a password without a username"),
        (
            {"registries": [{"host": HOST, "username": "x", "password": 4321}]},
            "password: given int; legal: a string",
        ),
        ({"registries": [{"host": HOST, "ca": "/none.pem"}]}, "ca: given '/none.pem'.*No such"),
        ({"registries": [{"host": HOST, "ca": "/etc/passwd"}]}, "ca: given '/etc/passwd'"),
        (
            {"registries": [{"host": HOST}, {"host": HOST}]},
            r"registries\[1\].host: given .*each one once",
        ),
        ({"mirrors": [{"from": "docker.io"}]}, r"mirrors\[0\].to: given None"),
        ({"mirrors": [{"from": "debian", "to": HOST}]}, r"mirrors\[0\].from: given 'debian'"),
        ({"mirrors": [{"from": HOST, "to": HOST}]}, "another name than 'from'"),
    ],
)
def test_wrong(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"container settings: .*{words}") as caught:
        ContainerSettings.from_mapping(given)
    assert "4321" not in str(caught.value)


def _begin(**fields: Any) -> None:
    """Create the notifiers of a runbook like LISA does."""
    runbook = schema.load_by_type(schema.Notifier, {"type": SETTINGS_TYPE, **fields})
    factory = subclasses.Factory[notifier.Notifier](notifier.Notifier)
    notifier.register_notifier(factory.create_by_runbook(runbook=runbook))


def test_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"host": HOST, "username": "reader", "password": PASSWORD}
    _begin(registries=[entry])
    assert current_settings().registries == (RegistrySettings(HOST, "reader", PASSWORD),)
    for text in (PASSWORD, repr(entry), str({"x": [entry]})):
        assert " word" not in secret.mask(text), text
    with pytest.raises(ConfigError, match="given twice; legal: one entry"):
        _begin(mirrors=[])
    notifier.finalize()
    assert current_settings() == ContainerSettings()

    monkeypatch.setattr(constants, "RUN_ID", "the next run")
    _begin(mirrors=[{"from": "docker.io", "to": HOST}])
    assert current_settings() == ContainerSettings(mirrors=(Mirror("docker.io", HOST),))
    notifier.finalize()
    assert current_settings() == ContainerSettings()


def test_wrong_in_a_runbook() -> None:
    where = f"runbook, notifier of type {SETTINGS_TYPE}: "
    with pytest.raises(ConfigError, match=f"{where}unknown field: given 'registrys'.*did you mean"):
        _begin(registrys=[])
    with pytest.raises(ConfigError, match=rf"{where}mirrors\[0\].from"):
        _begin(mirrors=[{"to": HOST}])
    assert current_settings() == ContainerSettings()
