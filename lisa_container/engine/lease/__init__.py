"""Leases: removal of all that a run made on a node, however the run ends."""
