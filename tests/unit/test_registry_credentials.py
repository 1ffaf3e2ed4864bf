"""Stored credentials, and mirrors of images."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lisa_container.config import ContainerSettings, ImageReference
from lisa_container.config.current import use_settings
from lisa_container.images.credentials import Credential
from lisa_container.images.credentials.docker_config import DockerConfig
from lisa_container.images.mirrors import mirrored

HUB = "https://index.docker.io/v1/"
REGISTRY = "registry.example.com:5000"
DIGEST = f"sha256:{'0' * 64}"


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def find(content: dict[str, Any], image: str, **helpers: dict[str, dict[str, str]]) -> str:
    """Return the user or token of the credential found, for any server with a helper."""
    asked: list[str] = []

    def ask(helper: str, server: str) -> str:
        asked.append(server)
        answer = helpers.get(helper, {}).get(server)
        return json.dumps(answer) if answer else "credentials not found in native keychain"

    config = DockerConfig.parse(json.dumps(content), "the file")
    assert config is not None
    found = config.find(ImageReference.parse(image), ask)
    if found is None:
        return "none"
    return found.username or found.identity_token or found.registry_token


@pytest.mark.parametrize("key", [HUB, "index.docker.io", "docker.io", "https://docker.io/v2/"])
@pytest.mark.parametrize("image", ["debian", "team/tool:1", "docker.io/library/debian:12"])
def test_dockers_own_registry(key: str, image: str) -> None:
    content = {"auths": {key: auth("hub", "x"), REGISTRY: auth("other", "y")}}
    assert find(content, image) == "hub"
    assert find(content, f"{REGISTRY}/debian") == "other"
    assert find(content, "registry.example.com/debian") == "none"


def test_longest_name() -> None:
    content = {"auths": {REGISTRY: auth("all", ""), f"{REGISTRY}/a/b": auth("part", "")}}
    assert find(content, f"{REGISTRY}/a/b/c:1") == "part"
    assert find(content, f"{REGISTRY}/a/b") == "part"
    assert find(content, f"{REGISTRY}/a/bc") == "all"


def test_tokens_and_plain_fields() -> None:
    entries: list[tuple[dict[str, Any], str]] = [
        ({"identitytoken": "identity", **auth("user", "x")}, "identity"),
        ({"registrytoken": "registry"}, "registry"),
        ({"username": "plain", "password": "x"}, "plain"),
        ({}, "none"),
        ({"auth": "not base64"}, "none"),
        ({"auth": 7}, "none"),
    ]
    for entry, expected in entries:
        assert find({"auths": {REGISTRY: entry}}, f"{REGISTRY}/x") == expected, entry


def test_helpers() -> None:
    """A registry's own helper comes before the store, and the store before the file."""
    answer = {"Username": "helped", "Secret": "x"}
    stored = {"Username": "stored", "Secret": "x"}
    content = {
        "auths": {REGISTRY: auth("file", "x"), HUB: {}},
        "credHelpers": {REGISTRY: "one"},
        "credsStore": "two",
    }
    image = f"{REGISTRY}/x"
    both = {"one": {REGISTRY: answer}, "two": {REGISTRY: stored, HUB: stored}}
    assert find(content, image, **both) == "helped"
    assert find(content, image, two=both["two"]) == "stored"
    assert find(content, image) == "file"
    assert find(content, "debian", **both) == "stored"
    assert find(content, "debian", two={"docker.io": answer}) == "helped"
    token = {"Username": "<token>", "Secret": "a-token"}
    assert find(content, image, one={REGISTRY: token}) == "a-token"
    assert find(content, image, one={REGISTRY: {"Username": "", "Secret": ""}}) == "file"


ALIAS = {"auths": {f"https://{REGISTRY}/v1/": auth("alias", "x")}}


@pytest.mark.parametrize(
    ("content", "image", "expected"),
    [
        ({"auths": {REGISTRY: auth("exact", "x"), **ALIAS["auths"]}}, f"{REGISTRY}/x", "exact"),
        ({"auths": {**ALIAS["auths"], REGISTRY: auth("exact", "x")}}, f"{REGISTRY}/x", "exact"),
        ({"auths": {f"http://{REGISTRY}": {}, REGISTRY: auth("e", "x")}}, f"{REGISTRY}/x", "e"),
        ({"auths": {f"http://{REGISTRY}": {}, **ALIAS["auths"]}}, f"{REGISTRY}/x", "alias"),
        ({"auths": {**ALIAS["auths"], REGISTRY: {}}}, f"{REGISTRY}/x", "none"),
        ({"auths": {"index.docker.io": {}, HUB: auth("hub", "x")}}, "debian", "hub"),
        ({"auths": {"docker.io": auth("podman", "x"), HUB: auth("hub", "x")}}, "debian", "hub"),
        ({"auths": {"docker.io": auth("podman", "x"), HUB: {}}}, "debian", "podman"),
    ],
)
def test_exact_key_before_aliases(content: dict[str, Any], image: str, expected: str) -> None:
    assert find(content, image) == expected


def test_empty_helper_stands_for_the_file() -> None:
    stored = {"two": {REGISTRY: {"Username": "stored", "Secret": "x"}}}
    content = {"auths": {REGISTRY: auth("file", "x")}, "credsStore": "two"}
    assert find(content, f"{REGISTRY}/x", **stored) == "stored"
    assert find({**content, "credHelpers": {REGISTRY: ""}}, f"{REGISTRY}/x", **stored) == "file"
    assert find({**content, "credHelpers": {"other": ""}}, f"{REGISTRY}/x", **stored) == "stored"


@pytest.mark.parametrize("helper", ["../x", "x;reboot", "x y", "", 7, None])
def test_invalid_name_of_a_helper(helper: Any) -> None:
    content = {"credHelpers": {REGISTRY: helper}, "credsStore": helper}
    config = DockerConfig.parse(json.dumps(content), "the file")
    assert config is not None
    assert (
        config.find(ImageReference.parse(f"{REGISTRY}/x"), lambda *_: pytest.fail("asked")) is None
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"auths": 7, "credHelpers": []}'])
def test_invalid_file(text: str) -> None:
    config = DockerConfig.parse(text, "the file")
    assert (
        config is None or config.find(ImageReference.parse(f"{REGISTRY}/x"), lambda *_: "") is None
    )


def test_header() -> None:
    def content(credential: Credential, registry: str = REGISTRY) -> Any:
        return json.loads(base64.urlsafe_b64decode(credential.header(registry)))

    credential = Credential("the runbook", "reader", "pass-word")
    shown = {"username": "reader", "password": "pass-word"}
    assert content(credential) == {**shown, "serveraddress": REGISTRY}
    assert content(credential, "docker.io")["serveraddress"] == HUB
    assert "pass-word" not in repr(credential) and str(credential) == "user 'reader' of the runbook"
    token = Credential("x", identity_token="pass-word")
    assert content(token) == {"identitytoken": "pass-word", "serveraddress": REGISTRY}
    token = Credential("x", registry_token="pass-word")
    assert content(token) == {"registrytoken": "pass-word", "serveraddress": REGISTRY}
    assert "pass-word" not in repr(token) and str(token) == "a token of x"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("debian:12", "m/lib/debian:12"),
        (f"docker.io/debian@{DIGEST}", f"m/lib/debian@{DIGEST}"),
        ("team/tool:1", "m/hub/team/tool:1"),
        (f"{REGISTRY}/a/b:1@{DIGEST}", f"m/b:1@{DIGEST}"),
        (f"{REGISTRY}/a/bc:1", ""),
        ("quay.io/debian", ""),
    ],
)
def test_mirrored(image: str, expected: str) -> None:
    rules = {"docker.io": "hub", "docker.io/library": "lib", f"{REGISTRY}/a/b": "b"}
    mirrors = [{"from": source, "to": f"m.example.com/{name}"} for source, name in rules.items()]
    use_settings(ContainerSettings.from_mapping({"mirrors": mirrors}))
    try:
        mirror = mirrored(ImageReference.parse(image))
        assert str(mirror or "") == expected.replace("m/", "m.example.com/", 1)
    finally:
        use_settings(ContainerSettings())
