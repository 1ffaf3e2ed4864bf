"""HTTP to an engine: the Docker SDK's client over any stream, and raw (attach, exec) streams."""
