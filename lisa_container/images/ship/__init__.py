"""Shipping images from here to nodes, without a registry: only the layers that a node lacks.

`ship` is the whole of it; `images/local/layers.py` uses what sends an image to one node.
"""
