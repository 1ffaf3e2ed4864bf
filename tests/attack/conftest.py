"""Fixture `runners` for tests that kill runs."""

from __future__ import annotations

from tests.support.runners import runners

__all__ = ["runners"]
