"""Names of images in their parts and forms."""

from __future__ import annotations

import time

import pytest

from lisa_container.config import ImageReference
from lisa_container.config.images import new_name
from lisa_container.errors import ConfigError

HOST = "registry.example.com:5000"
DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("debian", ("", "debian", "latest", "")),
        ("team/tool:1", ("", "team/tool", "1", "")),
        (f"{HOST}/a/b:1@{DIGEST}", (HOST, "a/b", "1", DIGEST)),
        (f"a@{DIGEST}", ("", "a", "", DIGEST)),
        ("localhost/a", ("localhost", "a", "latest", "")),
        ("localhost", ("", "localhost", "latest", "")),
        ("[::1]:5000/a", ("[::1]:5000", "a", "latest", "")),
        ("debian:12.5", ("", "debian", "12.5", "")),
    ],
)
def test_parts(text: str, parts: tuple[str, ...]) -> None:
    found = ImageReference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == parts
    assert ImageReference.parse(str(found)) == found


def test_id() -> None:
    for text in (DIGEST, DIGEST[7:]):
        found = ImageReference.parse(text)
        assert found == ImageReference(id=text)
        assert str(found) == found.name == str(found.full) == str(found.familiar) == text
        assert found.is_local and found.in_registry(HOST) is found


@pytest.mark.parametrize("text", ["", "Debian", "Team/app", "<none>:<none>", "a:", "a" * 2000])
def test_no_name(text: str) -> None:
    assert ImageReference.try_parse(text) is None
    with pytest.raises(ConfigError, match="image: given"):
        ImageReference.parse(text)


def test_forms() -> None:
    pinned = ImageReference.parse(f"{HOST}/a/b:1@{DIGEST}")
    assert (pinned.name, pinned.version) == (f"{HOST}/a/b", DIGEST)
    assert str(pinned.for_engine) == f"{HOST}/a/b@{DIGEST}"
    assert pinned.prefixes == [f"{HOST}/a/b", f"{HOST}/a", HOST]
    tagged = ImageReference.parse(f"{HOST}/a:1")
    assert tagged.for_engine is tagged.familiar is tagged
    assert tagged.full == tagged and tagged.version == "1"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("docker.io/debian:1", "docker.io/library/debian:1", "debian:1"),
        ("docker.io/library/debian:1", "docker.io/library/debian:1", "debian:1"),
        ("docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
        ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
        (f"{HOST}/a:1", f"{HOST}/a:1", f"{HOST}/a:1"),
    ],
)
def test_full_and_familiar(text: str, full: str, familiar: str) -> None:
    found = ImageReference.parse(text)
    assert (str(found.full), str(found.familiar)) == (full, familiar)
    assert found.familiar.full == found.full


def test_name_for_a_new_image() -> None:
    assert str(new_name("name", "team/tool")) == "team/tool:latest"
    for text in ("", DIGEST, f"a:1@{DIGEST}", f"a@{DIGEST}"):
        with pytest.raises(ConfigError, match="with or without a tag, no digest"):
            new_name("name", text)


def test_hostile_texts_take_no_time() -> None:
    started = time.process_time()
    for piece in ("a", "a.", "a-", "a/", "/a", "-", "__", "a:1/"):
        ImageReference.try_parse(piece * (1000 // len(piece)) + "!")
    assert time.process_time() - started < 1
