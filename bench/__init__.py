"""Benchmarks: each row runs us beside the alternatives, in one run, and prints the ratio.

make bench all rows; writes docs/performance.md make bench ROWS="command transfer" some rows; only
prints

A row is one module in `rows`: its docstring says what is measured and how, `measure` does it.
What a row's numbers do not say (limits, and the measurement that shows them) is in
`notes/<row>.md`.
"""
