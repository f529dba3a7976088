"""What every test of this repository may ask for."""

pytest_plugins = [
    "tests.support.services",
    "tests.support.plane",
    "tests.support.verified",
    "tests.support.keystores",
    "tests.canary.plugin",
]
