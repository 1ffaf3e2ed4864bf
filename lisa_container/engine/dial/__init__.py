"""Dialers: ways to reach a node's engine, one file each, and the choice between them."""

from __future__ import annotations

from lisa_container.engine.dial.base import Dialer
from lisa_container.engine.dial.choose import choose_dialer, is_reachable

__all__ = ["Dialer", "choose_dialer", "is_reachable"]
