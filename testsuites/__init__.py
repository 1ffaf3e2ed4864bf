"""Suites of lisa_container: each a worked example and a useful test.

Their image is the runbook variable `container_image`; by default the node's own static busybox, so
that no registry is needed.
"""
