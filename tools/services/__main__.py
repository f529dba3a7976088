"""``python -m tools.services start|stop|status|install [server ...]``"""

import argparse
import sys

from tools.services import commands, state
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
    parser.add_argument("server", nargs="*", help=f"all when none is named: {', '.join(servers)}")
    arguments = parser.parse_args()
    unknown = set(arguments.server) - set(servers)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    chosen = [servers[name] for name in servers if name in (arguments.server or servers)]
    with state.alone():
        return _COMMANDS[arguments.command](chosen)


if __name__ == "__main__":
    sys.exit(main())
