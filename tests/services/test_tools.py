"""Servers are kept, replaced and ended rightly, shown with a small one of our own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.services import processes
from tools.services.certificates import Certificates
from tools.services.commands import bring_up
from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server
from tools.services.servers import find_servers

WAIT = [sys.executable, "-c", "import time; time.sleep(60)"]


class Sleeper(Server):
    """A server that does nothing, and is well as long as its file says so."""

    name = "sleeper"
    ready_within_s = 1
    command = WAIT

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        health = context.write(folder / "health", "well")
        context.spawn(self.name, self.command)
        return {"address": "127.0.0.1:1", "version": "1", "health": str(health)}

    def ask(self, entry: Entry) -> None:
        if Path(entry["health"]).read_text() != "well":
            raise NotReady("not well")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates.ensure(tmp_path_factory.mktemp("services") / "certificates")


@pytest.fixture
def context(tmp_path, certificates):
    context = Context(tmp_path, certificates)
    yield context
    context.stop("sleeper", patience_s=1)


def pid_of(context: Context) -> int:
    return int((context.base / "run" / "sleeper" / "main.pid").read_text().split()[0])


def wait_until_dead(pid: int) -> None:
    """Until a killed process has stopped running; a signal takes effect when its receiver is next scheduled."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(0.005)


def test_every_module_of_servers_is_found():
    """A module in the folder of servers is a server, without being listed anywhere."""
    assert set(find_servers()) >= {"kafka", "mail", "mariadb", "postgres"}


def test_server_that_answers_is_kept(context):
    """A second start keeps the server that still answers."""
    entry = bring_up(Sleeper(), context, None).entry
    pid = pid_of(context)

    again = bring_up(Sleeper(), context, entry)

    assert (again.entry, pid_of(context)) == (entry, pid)


def test_killed_server_is_started_anew(context):
    """A server that was killed is replaced by the next start."""
    entry = bring_up(Sleeper(), context, None).entry
    pid = pid_of(context)
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)

    again = bring_up(Sleeper(), context, entry)

    assert again.entry is not None
    assert pid_of(context) != pid


def test_server_that_does_not_answer_is_replaced(context):
    """A server that runs but does not answer is ended, and replaced by the next start."""
    entry = bring_up(Sleeper(), context, None).entry
    pid = pid_of(context)
    Path(entry["health"]).write_text("ill")

    again = bring_up(Sleeper(), context, entry)

    assert again.entry is not None
    assert not Path(f"/proc/{pid}").exists()


def test_server_that_ends_while_starting_is_a_failure(context):
    """A server that ends at once is reported with the place of its log, without a wait."""

    class Broken(Sleeper):
        command = (sys.executable, "-c", "raise SystemExit('no such thing')")
        ready_within_s = 30

        def ask(self, entry: Entry) -> None:
            raise NotReady("nobody there")

    began = time.monotonic()

    outcome = bring_up(Broken(), context, None)

    assert outcome.entry is None
    assert str(context.log("sleeper")) in outcome.line
    assert "no such thing" in context.log("sleeper").read_text()
    assert time.monotonic() - began < 10


def test_server_that_never_answers_is_ended(context):
    """A server that does not answer within its deadline is a failure, and does not run on."""

    class Mute(Sleeper):
        def ask(self, entry: Entry) -> None:
            raise NotReady("no word")

    outcome = bring_up(Mute(), context, None)

    assert "no answer in 1 s: no word" in outcome.line
    assert not context.is_running("sleeper")


def test_stop_ends_the_whole_group(context):
    """Stopping a server ends the processes that it started, also when it was killed itself."""
    (context.base / "sleeper").mkdir()
    child = context.base / "child"
    context.spawn("sleeper", ["sh", "-c", f"sleep 60 & echo $! > {child}; wait"])
    while not (child.exists() and child.read_text()):
        time.sleep(0.01)
    os.kill(pid_of(context), signal.SIGKILL)

    context.stop("sleeper")

    stat = Path("/proc", child.read_text().strip(), "stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_stop_leaves_a_process_alone_that_got_an_old_pid(tmp_path):
    """A pid file from before the pid was given to another process does that one no harm."""
    with subprocess.Popen(WAIT, start_new_session=True) as stranger:
        pid_file = tmp_path / "main.pid"
        pid_file.write_text(f"{stranger.pid} 12345\n")

        processes.stop(pid_file, signal.SIGTERM, 1)

        assert stranger.poll() is None
        stranger.kill()


def test_ports_are_not_given_twice(context):
    """Servers that start side by side have ports of their own."""
    ports = [context.free_port() for _ in range(50)]

    assert len(set(ports)) == 50


def test_keys_are_for_the_owner_only(certificates):
    """No other user may read a private key."""
    keys = [path for name, path in certificates.paths().items() if name.endswith("_key")]

    assert keys
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
