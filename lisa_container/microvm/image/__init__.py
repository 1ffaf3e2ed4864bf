"""Images of virtual machines: a disk with Debian packages, a kernel, and its initial RAM disk."""
