"""Fixture `runners` for tests of leases."""

from __future__ import annotations

from tests.support.runners import runners

__all__ = ["runners"]
