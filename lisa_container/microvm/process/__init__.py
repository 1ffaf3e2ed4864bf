"""One QEMU process: its folder, its keeper, and the connections to it."""
