"""Run Microsoft LISA test suites inside containers on remote nodes."""
