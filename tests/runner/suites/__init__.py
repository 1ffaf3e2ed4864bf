"""Suites that the tests run by `lisa -r`. The cases log what they see; the tests compare it."""
