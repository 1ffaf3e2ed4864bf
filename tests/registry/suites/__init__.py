"""Suites that the tests run by `lisa -r`. Each case says what it sees; the tests compare."""
