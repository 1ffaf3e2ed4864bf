"""Leases: what a run made on a node goes when the run does, however it ends."""
