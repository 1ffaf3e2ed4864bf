"""Suites of lisa_container. Each is an example and a useful test.

The runbook variable `container_image` selects their image. The default is made from the node's own
static busybox and needs no registry.
"""
