"""Networks between the virtual machines of this process: a switch of Ethernet frames.

QEMU has one end of a pair of sockets and the switch the other, so there is no port, no file and no
interface that anything else could see, or that could be left behind.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress

_FRAME_BYTES = 1 << 16
_ADDRESS_BYTES = 6
# Bit of the first byte of an address that means several receivers.
_GROUP_BIT = 1
# A guest that invents addresses must not fill the memory.
_MOST_ADDRESSES = 4096


class PrivateNetwork:
    """Network of virtual machines of one process, which leads nowhere else. Root is not needed.

    >>> network = PrivateNetwork()
    >>> one = VmConfig(name="one", nics=(Nic(network, "10.91.0.1/24"),))
    >>> other = VmConfig(name="other", nics=(Nic(network, "10.91.0.2/24"),))
    """

    def __init__(self) -> None:
        """Begin without machines."""
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._addresses: dict[bytes, socket.socket] = {}
        self._unplugged: set[socket.socket] = set()

    def plug(self) -> Cable:
        """Return the cable for a new machine."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        with self._lock:
            is_first = self._selector is None
            self._selector = self._selector or selectors.DefaultSelector()
            self._selector.register(near, selectors.EVENT_READ)
            if is_first:
                target, selector = self._forward, self._selector
                threading.Thread(
                    target=target, args=(selector,), name="vm network", daemon=True
                ).start()
        return Cable(self, near, far)

    def unplug(self, near: socket.socket) -> None:
        """End a connection.

        Args:
            near: the switch's end.
        """
        with self._lock:
            self._unplugged.add(near)
        # The thread wakes up.
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def _forward(self, selector: selectors.BaseSelector) -> None:
        """Forward frames until no machine is left."""
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                self._take(selector, key.fileobj)
            with self._lock:
                if not selector.get_map():
                    self._selector = None
                    self._addresses.clear()
                    selector.close()
                    return

    def _take(self, selector: selectors.BaseSelector, port: socket.socket) -> None:
        with self._lock:
            is_unplugged = port in self._unplugged
            if is_unplugged:
                selector.unregister(port)
                self._unplugged.discard(port)
        if is_unplugged:
            self._addresses = {key: to for key, to in self._addresses.items() if to is not port}
            port.close()
            return
        try:
            frame = port.recv(_FRAME_BYTES)
        except OSError:  # nothing there
            return
        if len(frame) < 2 * _ADDRESS_BYTES:
            return
        receiver, sender = frame[:_ADDRESS_BYTES], frame[_ADDRESS_BYTES : 2 * _ADDRESS_BYTES]
        if len(self._addresses) >= _MOST_ADDRESSES:
            self._addresses.clear()
        self._addresses[sender] = port
        known = None if receiver[0] & _GROUP_BIT else self._addresses.get(receiver)
        with self._lock:
            others = [key.fileobj for key in selector.get_map().values()]
        for other in [known] if known else others:
            if other is not port and isinstance(other, socket.socket):
                # A machine that takes no frames loses them, as with any switch.
                with suppress(OSError):
                    other.send(frame)


class Cable:
    """Connection of one machine to a network.

    Args:
        network: the network.
        near: the switch's end.
        far: QEMU's end.

    Attributes:
        far: QEMU's end. Close it when QEMU has it.
    """

    def __init__(self, network: PrivateNetwork, near: socket.socket, far: socket.socket) -> None:
        """Take the ends."""
        self._network = network
        self._near: socket.socket | None = near
        self.far = far

    def unplug(self) -> None:
        """End the connection. Do nothing if that was done already."""
        self.far.close()
        near, self._near = self._near, None
        if near is not None:
            self._network.unplug(near)
