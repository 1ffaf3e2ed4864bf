"""`image_from_layers`: make an image that is defined in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_container.config import checks, identity, images
from lisa_container.errors import ConfigError
from lisa_container.images.layers.image import BuiltLayer, LayeredImage
from lisa_container.images.layers.plan import Layer, Planner
from lisa_container.images.platform import own_platform

# maxLayerDepth in moby, layer/layer_store.go.
_MOST_LAYERS = 125

# Images of this process by name, for nodes that need one. An image holds only the bytes and paths
# that the user gave.
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
        layers: the lowest first. Each maps paths in the image to content: bytes, a `Path` of this
            machine (a file, or a folder with its whole content), or a `LayerEntry`. Without a mode,
            a file has 644 and a program 755. A program begins with `#!`, is an ELF file, lies
            below `bin`, `sbin` or `libexec`, or may be executed on this machine. The owner is root.
        cmd: command that a container runs; a string for `/bin/sh -c`, or a list of words.
        entrypoint: words in front of `cmd`; in the same two forms.
        env: environment variables.
        working_dir: absolute path in which commands start.
        user: `name|uid[:group|gid]` that commands run as.
        labels: labels of the image.
        platform: such as `linux/arm64`. Default: the platform of the first ELF file in the layers,
            or of this machine if there is no ELF file.

    Raises:
        ConfigError: an argument is wrong; the message says what is legal.
        ImageArchiveError: a file changed while it was read.
    """
    planner = Planner()
    plans = [planner.plan(number, layer) for number, layer in enumerate(layers)]
    if not 0 < len(plans) <= _MOST_LAYERS:
        raise ConfigError(
            f"layers: given {len(plans)}; legal: 1 to {_MOST_LAYERS}, the limit of engines"
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
        images.platform("platform", platform) or planner.platform or own_platform(),
    )
    _made[image.reference] = image  # an equal image of before may refer to files that are gone
    return image


def made_image(reference: str) -> LayeredImage | None:
    """Return the image of this name, if this process has made it."""
    return _made.get(reference)


def _words(field: str, given: str | Sequence[str]) -> list[str]:
    """Check a command; a string becomes words for the shell, as in a Dockerfile."""
    if isinstance(given, str):
        return ["/bin/sh", "-c", given] if given else []
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise checks.illegal(field, given, "a string or a list of strings")
    if not all(isinstance(word, str) and "\0" not in word for word in given):
        raise checks.illegal(field, given, "a string or a list of strings")
    return list(given)
