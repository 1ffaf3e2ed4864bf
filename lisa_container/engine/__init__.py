"""The container engine of a node: ways to reach it, its API, its lease and its set-up."""
