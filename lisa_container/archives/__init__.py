"""Tar archives: writer, reader, and an unpacker that is safe with hostile archives."""
