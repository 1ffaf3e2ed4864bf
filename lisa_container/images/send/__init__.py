"""Sending an image to one node over its SSH connection: only the layers that the node lacks."""
