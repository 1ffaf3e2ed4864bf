"""Tests of lisa_container; docs/testing.md says how they are run."""

import pytest

# Before anything imports them.
pytest.register_assert_rewrite("tests.support")
