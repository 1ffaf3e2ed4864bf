"""`lisa-container vm`: images of virtual machines on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lisa_container.cli.output import complain, say, say_json, say_table
from lisa_container.errors import ConfigError
from lisa_container.microvm import (
    ImageConfig,
    RootImageConfig,
    list_images,
    provide_image,
    remove_image,
)

_MIB = 1 << 20


def build(arguments: argparse.Namespace) -> int:
    """Make an image unless it exists, and print its name; return the exit code."""
    values: dict[str, Any] = {
        "kernel": arguments.kernel,
        "modules": arguments.modules,
        "keys": tuple(_read_key(path) for path in arguments.keys),
        "files": dict(_parse_file(each) for each in arguments.files),
        "user": arguments.user,
        "disk_gib": arguments.disk_gib,
        "cache_dir": arguments.cache,
    }
    if arguments.root or arguments.archive:
        for name in ("suite", "mirror", "packages"):
            if getattr(arguments, name):
                raise ConfigError(f"{name}: an image of a root file system has none; leave it out")
        config = RootImageConfig(root=arguments.root, archive=arguments.archive, **values)
        image = provide_image(config, complain)
    else:
        packages = ImageConfig(
            suite=arguments.suite,
            mirror=arguments.mirror,
            packages=tuple(arguments.packages),
            docker=not arguments.no_docker,
            **values,
        )
        image = provide_image(packages, complain)
    say(image.name)
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """Print the images; return the exit code."""
    images = list_images(arguments.cache)
    if arguments.json:
        say_json(
            [
                {
                    "name": image.name,
                    "kernel": image.kernel_version,
                    "docker": image.has_docker,
                    "user": image.user,
                    "bytes": image.bytes_used,
                    "folder": str(image.folder),
                }
                for image in images
            ]
        )
    elif not images:
        say("no image; 'lisa-container vm build' makes one")
    else:
        say_table(
            ("name", "kernel", "engine", "MiB", "folder"),
            [
                (
                    image.name,
                    image.kernel_version,
                    "docker" if image.has_docker else "none",
                    image.bytes_used // _MIB,
                    image.folder,
                )
                for image in images
            ],
        )
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Remove images and their templates; return the exit code."""
    for name in arguments.names:
        remove_image(name, arguments.cache)
        say(f"removed image '{name}'")
    return 0


def _read_key(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _parse_file(text: str) -> tuple[str, str]:
    source, colon, target = text.rpartition(":")
    if not colon:
        raise ConfigError(f"file: given '{text}'; legal: FILE:PATH, the path in the image")
    return target, source
