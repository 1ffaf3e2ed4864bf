"""Shipping images to many nodes without a registry: each gets only the layers that it lacks."""
