"""Suites that the benchmarks run with `lisa -r`."""
