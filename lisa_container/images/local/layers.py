"""`lisa_container/layers:<key>`: an image that this process made with `image_from_layers`."""

from __future__ import annotations

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import ConfigError
from lisa_container.images.layers import made_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.send.pack import Packer
from lisa_container.images.send.send import Sender
from lisa_container.images.send.shipment import Shipment


def load_layers(engine: Engine, reference: ImageReference) -> None:
    """Ship the image to the engine's node.

    The image is removed with the run, unlike cached images: tests change, and so do their images.

    Args:
        engine: engine of the node.
        reference: the image's name; its tag is the key.

    Raises:
        ConfigError: this process has made no such image.
        NoSpaceError: the node's disk is full.
        EngineError: the engine refused the image.
    """
    image = made_image(str(reference))
    if image is None:
        raise ConfigError(
            f"image: '{reference}' is not on node '{engine.name}', and this process has not made "
            "it: call image_from_layers first, and take the name from the image's 'reference' (the "
            "image is removed with the run that made it)"
        )
    with Packer() as packer:
        sender = Sender(engine, Shipment.of_layers(image), packer)
        # Loaded without a name, since another run may have loaded the same image meanwhile.
        lease = Lease.of(engine)
        labels = lease.image_labels(str(reference))
        sender.send(labels)
    adopt(engine, lease.list_image(labels), reference)
