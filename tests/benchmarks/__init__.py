"""Speed, as ratios of two commands that run in turn: ``python -m tests.benchmarks``.

Nothing here is collected by pytest but the tests of the arithmetic.
"""
