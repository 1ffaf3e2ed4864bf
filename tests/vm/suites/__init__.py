"""Suites that tests of virtual machines run by `lisa -r`."""
