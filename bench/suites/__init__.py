"""Suites that the benchmarks run by `lisa -r`."""
