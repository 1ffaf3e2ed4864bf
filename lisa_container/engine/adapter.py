"""HTTP for `requests`, on any stream a `Dialer` can open to an engine."""

from __future__ import annotations

import queue
from typing import Any

import urllib3.connection
import urllib3.connectionpool
from docker.transport.basehttpadapter import BaseHTTPAdapter

from lisa_container.engine.dial import Dialer


class EngineAdapter(BaseHTTPAdapter):  # type: ignore[misc]
    """What `requests.Session.mount` takes: all requests go to the one engine of the dialer.

    Args:
        dialer: the way to the engine.
        timeout: seconds to wait for an answer where a request does not say.
    """

    def __init__(self, dialer: Dialer, timeout: float) -> None:
        self.dial = dialer.dial
        """Opens a stream to the engine beside those of requests."""
        self._pool = _Pool(dialer, timeout)
        super().__init__()

    def get_connection(self, url: Any, proxies: Any = None) -> _Pool:
        """The pool. (The SDK's base class has `requests` of all versions call this.)"""
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """The path alone: there is no proxy on the way to an engine."""
        return str(request.path_url)

    def close(self) -> None:
        """Close the idle connections. A later request opens new ones."""
        self._pool.close_idle()
        super().close()


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, dialer: Dialer, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._dialer = dialer

    def connect(self) -> None:
        stream = self._dialer.dial()
        stream.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        self.sock = stream


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, dialer: Dialer, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=dialer.pool_size)
        self._dialer = dialer
        self._seconds = timeout

    def close_idle(self) -> None:
        while True:
            connection = self._idle()
            if connection is None:
                return
            connection.close()

    def _new_conn(self) -> Any:
        return _Connection(self._dialer, self._seconds)

    def _get_conn(self, timeout: float | None = None) -> Any:
        # urllib3 asks the descriptor of an idle connection whether it was closed; for a channel
        # that would make a pipe each time. A stream of ours knows by itself.
        while True:
            connection = self._idle()
            if connection is None:
                return self._new_conn()
            if connection.sock is None or connection.sock.is_idle():
                return connection
            connection.close()

    def _put_conn(self, conn: Any) -> None:
        # Without urllib3's warning where more were in use than are kept: that is as intended.
        assert self.pool is not None
        try:
            self.pool.put(conn, block=False)
        except queue.Full:
            if conn is not None:
                conn.close()

    def _idle(self) -> Any:
        assert self.pool is not None
        try:
            while True:  # urllib3 fills the queue with None at first, one for each place
                connection: Any = self.pool.get(block=False)
                if connection is not None:
                    return connection
        except queue.Empty:
            return None
