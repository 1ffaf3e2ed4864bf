"""Containers on a node: their life, commands and files."""
