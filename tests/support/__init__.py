"""Helpers of several test files: nodes, containers, registries, runs, and checks of them."""
