"""Image of an HTTP handler, for tests of container runtimes: busybox's httpd and a few pages."""

from __future__ import annotations

from lisa_container.images import LayeredImage, LayerEntry, image_from_layers

# The environment of `HandlerHost` says where it listens.
_START = b"""\
#!/bin/sh
echo "hello from $HANDLER_NAME" >/www/index.html
exec httpd -f -p "$HANDLER_ADDRESS:$HANDLER_PORT" -h /www
"""
_ECHO = b"""\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "$HANDLER_NAME got $(cat)"
"""
_APPLETS = ("sh", "httpd", "cat", "echo", "printf", "sleep", "id", "hostname", "touch", "ls")


def handler_image(busybox: bytes) -> LayeredImage:
    """Return the image of a handler that answers `/` and `/cgi-bin/echo`.

    Args:
        busybox: The program, linked statically, as Debian's package busybox-static has it.
    """
    links = {f"bin/{name}": LayerEntry.symlink("busybox") for name in _APPLETS}
    return image_from_layers(
        [
            {"bin/busybox": busybox, **links, "tmp": LayerEntry.folder(mode=0o1777)},
            {"bin/handler": _START, "www/cgi-bin/echo": LayerEntry(_ECHO, mode=0o755)},
        ],
        cmd=["/bin/handler"],
        env={"PATH": "/bin"},
    )
