"""`lisa_container/layers:<key>`: an image that this process has made by `image_from_layers`."""

from __future__ import annotations

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import ConfigError
from lisa_container.images.layers import made_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.ship.pack import Packer
from lisa_container.images.ship.send import Sender
from lisa_container.images.ship.shipment import Shipment


def load_layers(engine: Engine, reference: str, tag: str) -> None:
    """Ship the image. It goes with the run, unlike what is made as a cache: tests change, and so do
    their images.

    Args:
        engine: of the node.
        reference: the image's full name.
        tag: its key.

    Raises:
        ConfigError: this process has made no such image.
        NoSpaceError: the node's disk is full.
        EngineError: the engine refused it.
    """
    image = made_image(reference)
    if image is None:
        raise ConfigError(
            f"image: '{reference}' is not on node '{engine.name}', and this process has not made "
            "it: call image_from_layers first, and take the name from the image's 'reference' (it "
            "goes with the run that made it)"
        )
    with Packer() as packer:
        sender = Sender(engine, Shipment.of_layers(image), packer)
        # Without a name: another run may have loaded the same image meanwhile.
        loaded = sender.send(Lease.of(engine).labels())
    adopt(engine, loaded, reference)
