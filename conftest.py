"""What every test of this repository may ask for."""

import pytest

# Before anything imports it: its asserts then say what they compared.
pytest.register_assert_rewrite("mooring.testing.conformance")

pytest_plugins = [
    "tests.support.services",
    "tests.support.plane",
    "tests.support.verified",
    "tests.support.keystores",
    "tests.canary.plugin",
]
