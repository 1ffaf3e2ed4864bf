"""Sphinx' configuration. To build: `sphinx-build -W --keep-going docs docs/_build/html`."""

from importlib.metadata import version as version_of

project = "lisa-container"
author = "the lisa-container authors"
release = version_of("lisa-container")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

# Headings can be linked as page.md#the-heading, as GitHub has it.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"lisa-container {release}"
