"""
One module for each server; a module here is found without being listed.

To add one, write ``servers/<name>.py`` with a subclass of
`tools.services.server.Server` and an instance of it called ``SERVER``, then a
fixture of that name in `tests.support.services`.
"""

import importlib
import pkgutil

from tools.services.server import Server


def find_servers() -> dict[str, Server]:
    """Every server of this package by its name, in the order of their names."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    servers: list[Server] = [module.SERVER for module in modules]
    return {server.name: server for server in sorted(servers, key=lambda server: server.name)}
