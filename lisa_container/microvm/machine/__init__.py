"""QEMU on this machine: the program, its accelerator and its command line."""
