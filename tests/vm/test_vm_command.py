"""The command `lisa-container vm`."""

from __future__ import annotations

import json
from pathlib import Path

from lisa_container.microvm.image.store import Image
from lisa_container.microvm.places import Places
from tests.support import programs
from tests.support.programs import CLI


def run(*words: object) -> tuple[int, str, str]:
    done = programs.run(*CLI, "vm", *map(str, words), timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_list_and_remove(image: Image, tmp_path: Path) -> None:
    """Images without their disks, in a cache of their own."""
    places = Places(tmp_path)
    copy = places.images / image.name
    copy.mkdir(parents=True)
    (copy / "image.json").write_bytes((image.folder / "image.json").read_bytes())
    template = places.templates / f"{image.name}-0123"
    template.mkdir(parents=True)
    code, output, _ = run("list", "--json", "--cache", tmp_path)
    (listed,) = json.loads(output)
    assert code == 0
    assert (listed["name"], listed["user"]) == (image.name, "tester")
    assert listed["kernel"] == image.kernel_version
    code, _, error = run("rm", "other", "--cache", tmp_path)
    assert (code, error) == (2, f"vm image: given 'other'; legal: {image.name}\n")
    assert run("rm", image.name, "--cache", tmp_path)[:2] == (0, f"removed image '{image.name}'\n")
    assert not copy.exists() and not template.exists()
    assert run("list", "--cache", tmp_path)[1].startswith("no image; 'lisa-container vm build'")


def test_build_finds_the_image_again(image: Image) -> None:
    assert run("build") == (0, f"{image.name}\n", "")


def test_wrong_values(tmp_path: Path) -> None:
    code, _, error = run("build", "--kernel", "/nowhere", "--cache", tmp_path)
    assert code == 2 and "path of a bzImage" in error
    code, _, error = run("build", "--file", "nothing", "--cache", tmp_path)
    assert code == 2 and "legal: FILE:PATH" in error
    assert not list(tmp_path.iterdir())
