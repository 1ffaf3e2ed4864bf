"""Root file systems of Debian and Ubuntu packages, made on this machine."""
