"""`image_from_layers`: an image written down in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_container.config import checks, identity
from lisa_container.config import images as names
from lisa_container.errors import ConfigError
from lisa_container.images.layers.image import BuiltLayer, LayeredImage
from lisa_container.images.layers.plan import Layer, Planner
from lisa_container.images.platform import own_platform

# moby, layer/layer_store.go: maxLayerDepth.
_MOST_LAYERS = 125

# By key, for when a node asks for one by its name. An image keeps no more than the user's own bytes
# and paths.
_made: dict[str, LayeredImage] = {}


def image_from_layers(
    layers: Iterable[Layer],
    cmd: str | Sequence[str] = (),
    entrypoint: str | Sequence[str] = (),
    env: Mapping[str, Any] | None = None,
    working_dir: str = "",
    user: str = "",
    labels: Mapping[str, Any] | None = None,
    platform: str = "",
) -> LayeredImage:
    """Make an image, without any engine.

        image = image_from_layers([{"bin/tool": Path("build/tool")}], cmd=["/bin/tool"])
        ContainerExecutor(node, ContainerTestConfig(image=image.reference))

    The same input gives the same image, bit by bit, on any machine and at any time.

    Args:
        layers: the lowest first; each maps a path in the image to what is there: bytes, a `Path` of
            this machine (a file, or a folder with all that is in it), or a `LayerEntry`. What no
            mode is given for has 644, a program 755: what begins with `#!`, is an ELF file, lies
            below `bin`, `sbin` or `libexec`, or may be executed on this machine. All is root's.
        cmd: what a container of it runs; a string for its `/bin/sh -c`, or a list of words.
        entrypoint: what stands in front of that; in the same two forms.
        env: variables.
        working_dir: absolute path.
        user: `name|uid[:group|gid]`.
        labels: of the image.
        platform: such as `linux/arm64`; by default that of the first ELF file in the layers, or
            of this machine where there is none.

    Raises:
        ConfigError: something is wrong, with what is legal; nothing was made.
        ImageArchiveError: a file was changed while it was read.
    """
    planner = Planner()
    plans = [planner.plan(number, layer) for number, layer in enumerate(layers)]
    if not 0 < len(plans) <= _MOST_LAYERS:
        raise ConfigError(
            f"layers: given {len(plans)}; legal: 1 to {_MOST_LAYERS}, more no engine can stack"
        )
    settings = {
        "Cmd": _words("cmd", cmd),
        "Entrypoint": _words("entrypoint", entrypoint),
        "Env": [f"{name}={value}" for name, value in checks.environment("env", env or {}).items()],
        "Labels": dict(checks.texts("labels", labels or {})),
        "User": identity.user("user", user),
        "WorkingDir": checks.optional_path("working_dir", working_dir),
    }
    image = LayeredImage(
        tuple(BuiltLayer.of(plan) for plan in plans),
        {name: value for name, value in settings.items() if value},
        names.platform("platform", platform) or planner.platform or own_platform(),
    )
    _made[image.reference] = image  # the files of an equal one of before may be gone
    return image


def made_image(reference: str) -> LayeredImage | None:
    """The image of this name that this process has made."""
    return _made.get(reference)


def _words(field: str, given: str | Sequence[str]) -> list[str]:
    """As a Dockerfile has it: a string is for the shell."""
    if isinstance(given, str):
        return ["/bin/sh", "-c", given] if given else []
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise checks.illegal(field, given, "a string or a list of strings")
    if not all(isinstance(word, str) and "\0" not in word for word in given):
        raise checks.illegal(field, given, "a string or a list of strings")
    return list(given)
