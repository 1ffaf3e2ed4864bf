"""Suites of lisa_container: each a worked example and a useful test."""
