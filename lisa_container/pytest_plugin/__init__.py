"""Plugin for pytest: nodes and containers as fixtures.

pytest imports `plugin.py` in each of its runs where this package is installed. So that module, and
those that it imports, import neither LISA nor anything else that is slow. The others are imported
when a test uses a fixture of the plugin.
"""
