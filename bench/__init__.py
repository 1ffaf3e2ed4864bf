"""Benchmarks. Each row measures lisa_container and its alternatives in one run, with the ratio.

    make bench                           all rows; writes docs/performance.md
    make bench ROWS="command transfer"   some rows; only prints

A row is a module in `rows`. Its docstring describes what is measured and how, and `measure` does
it. `notes/<row>.md` explains the limits of a row's numbers.
"""
