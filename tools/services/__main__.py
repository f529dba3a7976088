"""``python -m tools.services start|stop|status|install [server ...]``"""

import argparse
import os
import sys

from tools.services import commands, state
from tools.services.server import Server
from tools.services.servers import find_servers

_COMMANDS = {
    "start": commands.start,
    "stop": commands.stop,
    "status": commands.status,
    "install": commands.install,
}


def main() -> int:
    """Do what the command line says; the exit status."""
    servers = find_servers()
    parser = argparse.ArgumentParser(prog="python -m tools.services", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("server", nargs="*", help=f"all but the heavy ones when none is named: {', '.join(servers)}")
    arguments = parser.parse_args()
    unknown = set(arguments.server) - set(servers)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    usual = [name for name, server in servers.items() if _is_usual(server)]
    chosen = [servers[name] for name in servers if name in (arguments.server or usual)]
    with state.alone():
        return _COMMANDS[arguments.command](chosen)


def _is_usual(server: Server) -> bool:
    """Whether it is meant where none is named: a heavy one only where it runs already, or all are asked for."""
    return not server.optional or "MOORING_HEAVY_SERVICES" in os.environ or server.name in state.read()


if __name__ == "__main__":
    sys.exit(main())
