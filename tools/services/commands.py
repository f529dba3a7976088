"""What ``python -m tools.services`` does: start, stop, look at and install servers."""

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tools.services import apt, state
from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server


@dataclass(frozen=True)
class Outcome:
    """How it went for one server: its entry if it answers now, and one line for the reader."""

    server: Server
    entry: Entry | None
    line: str


def start(servers: list[Server]) -> int:
    """Install what is missing, then start, or keep, each of *servers*; 1 if one cannot be had."""
    failures = _install(servers)
    context = Context.of_this_checkout()
    certificates = {name: str(path) for name, path in context.certificates.paths().items()}
    ca_sha256 = hashlib.sha256(context.certificates.ca.read_bytes()).hexdigest()
    known = state.read()
    if known.get("ca_sha256") != ca_sha256:
        # The certificates were lost and made anew; servers that show the old ones are no use.
        known = {}

    def have(server: Server) -> Outcome:
        if server.name in failures:
            return Outcome(server, None, failures[server.name])
        return bring_up(server, context, known.get(server.name))

    outcomes = _in_parallel(have, servers)
    fresh = {
        **known, "ca": certificates["ca"], "ca_sha256": ca_sha256, "certificates": certificates
    }  # fmt: skip
    for outcome in outcomes:
        fresh.pop(outcome.server.name, None)
        if outcome.entry is not None:
            fresh[outcome.server.name] = outcome.entry
    state.write(fresh)
    return 0 if all(outcome.entry is not None for outcome in outcomes) else 1


def stop(servers: list[Server]) -> int:
    """End *servers* and forget them."""
    context = Context.of_this_checkout()

    def end(server: Server) -> Outcome:
        was_running = context.is_running(server.name)
        server.stop(context)
        return Outcome(server, None, "stopped" if was_running else "was not running")

    _in_parallel(end, servers)
    stopped = {server.name for server in servers}
    state.write({name: entry for name, entry in state.read().items() if name not in stopped})
    return 0


def status(servers: list[Server]) -> int:
    """Ask each of *servers* one question; 1 unless all of them answer."""
    context = Context.of_this_checkout()
    known = state.read()

    def look(server: Server) -> Outcome:
        entry = known.get(server.name)
        trouble = _trouble(server, context, entry)
        if entry is None or trouble:
            return Outcome(server, None, trouble)
        return Outcome(server, entry, f"{entry['version']:<10} {entry['address']:<16} answers")

    outcomes = _in_parallel(look, servers)
    return 0 if all(outcome.entry is not None for outcome in outcomes) else 1


def install(servers: list[Server]) -> int:
    """Install what *servers* need and tell which cannot be had; 1 if one cannot."""
    failures = _install(servers)
    for server in servers:
        print(f"{server.name:<10} {failures.get(server.name, 'installed')}")
    return 1 if failures else 0


def _install(servers: list[Server]) -> dict[str, str]:
    """Install what is missing; the reason for each server that cannot be had."""
    apt.install({server.name: server.missing_packages() for server in servers})
    failures = {}
    for server in servers:
        missing = server.missing_packages()
        if missing:
            failures[server.name] = f"FAILED: not installed: {' '.join(missing)}"
            continue
        try:
            server.install()
        except NotReady as exc:
            failures[server.name] = f"FAILED: could not be installed: {exc}"
    return failures


def bring_up(server: Server, context: Context, known: Entry | None) -> Outcome:
    """Keep *server* when it answers as *known* says, or else start it with new data."""
    began = time.monotonic()
    try:
        if known is not None and not _trouble(server, context, known):
            server.prepare(known)
            entry, how = known, "was running"
        else:
            server.stop(context)
            context.keep_old_log(server.name)
            entry = server.start(context)
            server.ready(entry, context)
            server.prepare(entry)
            how = "started"
    except (NotReady, OSError, subprocess.SubprocessError, KeyError) as exc:
        server.stop(context)
        return Outcome(server, None, f"FAILED: {exc}; its log: {context.log(server.name)}")
    took_s = time.monotonic() - began
    line = f"{entry['version']:<10} {entry['address']:<16} {how} in {took_s:.1f} s"
    return Outcome(server, entry, line)


def _trouble(server: Server, context: Context, entry: Entry | None) -> str:
    """Why *server* cannot be used as it is; empty when it can."""
    if entry is None or not context.is_running(server.name):
        return "is not running"
    try:
        server.ask(entry)
    except NotReady as exc:
        return f"does not answer: {exc}"
    return ""


def _in_parallel(action: Callable[[Server], Outcome], servers: Iterable[Server]) -> list[Outcome]:
    """Do *action* for all servers at once, and print the line of each as it ends."""

    def do(server: Server) -> Outcome:
        outcome = action(server)
        print(f"{server.name:<10} {outcome.line}", flush=True)
        return outcome

    chosen = list(servers)
    with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
        return list(pool.map(do, chosen))
