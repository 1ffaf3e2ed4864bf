"""HTTP adapter for `requests` over the streams of a `Dialer`."""

from __future__ import annotations

import queue
from typing import Any

import urllib3.connection
import urllib3.connectionpool
from docker.transport.basehttpadapter import BaseHTTPAdapter

from lisa_container.engine.dial import Dialer


class EngineAdapter(BaseHTTPAdapter):  # type: ignore[misc]
    """Adapter for `requests.Session.mount` that sends all requests to the dialer's engine.

    Args:
        dialer: opens streams to the engine.
        timeout: seconds to wait for an answer, unless a request says otherwise.
    """

    def __init__(self, dialer: Dialer, timeout: float) -> None:
        """Prepare an empty pool of connections."""
        self.dial = dialer.dial
        """Open a stream to the engine that is not part of the pool."""
        self._pool = _Pool(dialer, timeout)
        super().__init__()

    def get_connection(self, url: Any, proxies: Any = None) -> _Pool:
        """Return the pool; the SDK's base class has all versions of `requests` call this."""
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """Return the path alone, since no proxy is on the way to an engine."""
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
        # urllib3 would poll the descriptor of an idle connection, which costs a channel a pipe
        # each time. Our streams know by themselves whether they were closed.
        while True:
            connection = self._idle()
            if connection is None:
                return self._new_conn()
            if connection.sock is None or connection.sock.is_idle():
                return connection
            connection.close()

    def _put_conn(self, conn: Any) -> None:
        # Without urllib3's warning about a full pool: a burst may open more than are kept.
        assert self.pool is not None
        try:
            self.pool.put(conn, block=False)
        except queue.Full:
            if conn is not None:
                conn.close()

    def _idle(self) -> Any:
        assert self.pool is not None
        try:
            while True:  # urllib3 first fills the queue with None, one for each slot
                connection: Any = self.pool.get(block=False)
                if connection is not None:
                    return connection
        except queue.Empty:
            return None
