"""Commands and scripts on a real server, and servers that misbehave."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
import uuid
from typing import Any

import asyncssh
import pytest
from tests.support.fileservers import end_sessions, files_of
from tests.support.services import Service, black_hole, closed_port, service

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.connector import Allowed
from mooring.testing.live import connected
from mooring.types.linux_script.command import OUTPUT_BYTES
from mooring.types.linux_script.tests.target import body_for

CANARY = "s3cr3t-canary-pw"


@pytest.fixture(scope="session")
def sshd() -> Service:
    """A real SSH server."""
    return service("sshd")


def at(server: Service, **fields: Any) -> dict[str, Any]:
    return {**body_for(server), "name": "batch", **fields}


def nowhere(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "linux-script", "name": "batch", "hostName": "127.0.0.1", "sshPort": port,
        "username": "ada", "password": CANARY, **fields,
    }  # fmt: skip


async def failure(config: dict[str, Any], timeout_s: float = 5.0) -> ConnectorError:
    async with connected(config) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use("run", {"command": "true"}, timeout_s)
    return caught.value


def mark() -> str:
    """Seconds of a sleep that no other test sleeps."""
    return f"3600.{uuid.uuid4().int % 10**12}"


async def is_running(text: str, expected: bool) -> bool:
    """Whether a process with *text* in its command line is there; asked for some seconds until it is as expected."""
    deadline = time.monotonic() + 5
    while True:
        found = await asyncio.to_thread(subprocess.run, ["pgrep", "-f", text], capture_output=True)
        if bool(found.stdout) is expected or time.monotonic() > deadline:
            return bool(found.stdout)
        await asyncio.sleep(0.05)


# What it does


async def test_a_command_is_run(sshd):
    """A command does over there what it does, and its status and output come back."""
    file = files_of(sshd) / f"{uuid.uuid4().hex} ışık"

    async with connected(at(sshd)) as guard:
        made = await guard.use("run", {"command": "touch", "arguments": [str(file)]})
        seen = await guard.use("run", {"command": "ls", "arguments": [str(file), "/no/such"]})

    assert file.exists()
    assert (made.exit_status, made.stdout, made.stderr) == (0, "", "")
    assert (seen.exit_status, seen.stdout) == (2, f"{file}\n")
    assert "/no/such" in seen.stderr
    file.unlink()


async def test_arguments_are_given_on_as_they_are(sshd):
    """Nothing in an argument is interpreted on the other side."""
    arguments = [
        "a b",
        "$HOME",
        "`id`",
        "$(id)",
        "'; id; '",
        '"',
        "\\",
        "*",
        "~",
        "",
        "a\nb",
        "ışık",
        "-n",
        "; id",
        "&",
        "!!",
    ]

    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"command": "printf", "arguments": ["%s|", *arguments]})

    assert ran.stdout == "".join(f"{argument}|" for argument in arguments)


async def test_a_command_is_no_line_of_a_shell(sshd):
    """What looks like a line for a shell is the name of one program, which there is not."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"command": "echo hello; id"})

    assert (ran.exit_status, ran.stdout) == (127, "")


async def test_a_script_is_run_with_arguments_and_input(sshd):
    """A script finds its arguments in $1, $2, ..., and its input where input is; its status is the answer's."""
    script = 'read line\necho "$line, $2 $1"\necho oops >&2\nexit 7'

    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"script": script, "arguments": ["it's", "so be"], "input": "ışık\nmore\n"})

    assert (ran.exit_status, ran.stdout, ran.stderr) == (7, "ışık, so be it's\n", "oops\n")


async def test_the_shell_of_a_script_can_be_chosen(sshd):
    """`bash` understands what `sh` does not."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"script": "a=(1 2 3); echo ${#a[@]}", "shell": "bash"})

    assert ran.stdout == "3\n"


@pytest.mark.parametrize("command", ["cat", "true"])
async def test_much_input_is_fed(sshd, command):
    """Input of megabytes reaches a program that reads it, and does not disturb one that does not."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"command": command, "input": "x" * 4_000_000})

    assert (ran.exit_status, len(ran.stdout)) == (0, OUTPUT_BYTES if command == "cat" else 0)


async def test_output_has_a_limit(sshd):
    """Of a long output the beginning is answered, and that it was longer; the program ends as it does."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"script": "head -c 3000000 /dev/zero | tr '\\0' x; exit 5"})

    assert (ran.exit_status, len(ran.stdout), ran.truncated) == (5, OUTPUT_BYTES, True)


async def test_endless_output_ends_the_program(sshd):
    """A program that never stops writing is killed."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"command": "yes"})

    assert (ran.exit_status, ran.signal, ran.truncated, ran.timed_out) == (None, "KILL", True, False)


async def test_a_signal_that_ends_a_program_is_told(sshd):
    """A program that a signal ended has no status, and the answer says which signal it was."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"script": "kill -TERM $$"})

    assert (ran.exit_status, ran.signal) == (None, "TERM")


async def test_what_takes_too_long_is_killed(sshd):
    """After `timeoutSeconds` what runs over there is dead, and the answer says so, with what was written until then."""
    seconds = mark()

    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"script": f"echo begun; sleep {seconds}; echo done", "timeoutSeconds": 0.5})

    assert (ran.timed_out, ran.exit_status, ran.signal, ran.stdout) == (True, None, "KILL", "begun\n")
    assert not await is_running(f"sleep {seconds}", expected=False)


async def test_what_nobody_waits_for_any_longer_is_killed(sshd):
    """Where the caller gives up, what runs over there does not go on."""
    seconds = mark()

    async with connected(at(sshd)) as guard:
        running = asyncio.create_task(guard.use("run", {"command": "sleep", "arguments": [seconds]}))
        assert await is_running(f"sleep {seconds}", expected=True)
        running.cancel()

        assert not await is_running(f"sleep {seconds}", expected=False)


async def test_what_was_only_just_asked_for_is_killed(sshd):
    """Where the caller gives up before the server has said that it runs, it does not go on either."""
    marks = [mark() for _ in range(60)]

    async with connected(at(sshd)) as guard:
        await guard.use("run", {"command": "true"})
        for place, seconds in enumerate(marks):
            running = asyncio.create_task(guard.use("run", {"command": "sleep", "arguments": [seconds]}))
            await asyncio.sleep(place * 0.0002)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0.5)

    assert [seconds for seconds in marks if await is_running(f"sleep {seconds}", expected=False)] == []


async def test_what_runs_when_the_connection_closes_is_killed(sshd):
    """At its end a connection leaves nothing behind on the other side, and the caller hears of it."""
    seconds = mark()

    async with connected(at(sshd)) as guard:
        running = asyncio.create_task(guard.use("run", {"command": "sleep", "arguments": [seconds]}))
        assert await is_running(f"sleep {seconds}", expected=True)
        await guard.close(grace_s=0.1)
        ended = (await asyncio.gather(running, return_exceptions=True))[0]

    assert not await is_running(f"sleep {seconds}", expected=False)
    assert getattr(ended, "signal", None) == "KILL" or isinstance(ended, Unreachable)


async def test_a_short_run_is_finished_when_the_connection_closes(sshd):
    """What ends soon is waited for."""
    async with connected(at(sshd)) as guard:
        running = asyncio.create_task(guard.use("run", {"script": "sleep 0.3; echo done"}))
        await asyncio.sleep(0.1)
        await guard.close(grace_s=10)

        assert (await running).stdout == "done\n"


async def test_the_native_client_is_the_connection(sshd):
    """The native client gives the driver's connection, logged in."""
    async with connected(at(sshd)) as guard:
        async with (await guard.native())() as connection:
            assert (await connection.run("echo hello")).stdout == "hello\n"


# Who may, and with whom


async def test_nothing_is_run_unless_the_worker_allows_it(sshd):
    """A worker that was not told otherwise refuses, and names the setting; nothing is sent."""
    async with connected(at(sshd), allowed=Allowed()) as guard:
        for attempt in (guard.use("run", {"command": "true"}), guard.native()):
            with pytest.raises(Misconfigured, match="may not run scripts") as caught:
                await attempt
            assert "MOORING_LINUX_SCRIPT=true" in caught.value.hint
        report = await guard.probe()

    assert (report.failure.name, [step.name for step in report.steps]) == ("allowed", ["allowed"])


async def test_a_wrong_password_is_rejected(sshd):
    """A wrong password is the owner's to mend, and is not repeated."""
    async with connected(at(sshd, password=CANARY)) as guard:
        with pytest.raises(Rejected, match="refused the login as mooring-ssh") as caught:
            await guard.use("run", {"command": "true"})
        report = await guard.probe()

    assert CANARY not in f"{caught.value} {caught.value.hint} {report}"
    assert (report.failure.name, report.failure.code) == ("login", "rejected")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_any_of_the_servers_host_keys_may_be_pinned(sshd, kind):
    """The pinned host key is found among those that the server has, and the answer shows it."""
    pinned = sshd["fingerprints"][kind]

    async with connected(at(sshd, hostKeyFingerprint=pinned)) as guard:
        ran = await guard.use("run", {"command": "true"})
        report = await guard.probe()

    assert ran.host_key == pinned
    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "host key", "login", "true")
    ]


async def test_another_host_key_is_refused(sshd):
    """A server with another host key is sent no password, and the probe stops at its step."""
    async with connected(at(sshd, hostKeyFingerprint=f"SHA256:{'A' * 43}")) as guard:
        with pytest.raises(Misconfigured, match="and not the expected one; nothing was sent to it") as caught:
            await guard.use("run", {"command": "true"})
        report = await guard.probe()

    assert sshd["fingerprints"]["ed25519"] in caught.value.message
    assert report.failure.name == "host key"


async def test_first_use_is_told_with_the_fingerprint(sshd):
    """Without a pinned key the answer and the probe say which one was trusted, for a person to compare."""
    async with connected(at(sshd)) as guard:
        ran = await guard.use("run", {"command": "true"})
        report = await guard.probe()

    (step,) = [step for step in report.steps if step.name == "host key"]
    assert report.ok
    assert (ran.host_key, step.state) == (sshd["fingerprints"]["ed25519"], "unknown")
    assert ran.host_key in step.message


async def test_a_host_key_that_changes_is_refused():
    """What was trusted at first use is expected from then on, also by the probe."""
    servers = [FakeSshServer(), FakeSshServer()]
    port = await servers[0].listen()
    async with connected(nowhere(port)) as guard:
        await guard.use("run", {"command": "true"})
        await guard.rest()
        await servers[0].end()
        await servers[1].listen(port)
        with pytest.raises(Misconfigured, match=r"had SHA256:\S+ before; nothing was sent to it"):
            await guard.use("run", {"command": "true"})
        report = await guard.probe()
        await servers[1].end()

    assert report.failure.name == "host key"
    assert servers[1].passwords == []


class FakeSshServer:
    """Has a host key of its own, lets everybody in, and does nothing; `passwords` are those it was shown."""

    def __init__(self, only_asks: bool = False) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.passwords: list[str] = []
        self.only_asks = only_asks

    async def listen(self, port: int = 0) -> int:
        self._server = await asyncssh.create_server(
            lambda: _Session(self), "127.0.0.1", port, server_host_keys=[self.key],
            process_factory=lambda process: process.exit(0),
        )  # fmt: skip
        return self._server.get_port()

    async def end(self) -> None:
        self._server.close()
        await self._server.wait_closed()


class _Session(asyncssh.SSHServer):
    def __init__(self, server: FakeSshServer) -> None:
        self.server, self.connection = server, None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def password_auth_supported(self) -> bool:
        return not self.server.only_asks

    def validate_password(self, username: str, password: str) -> bool:
        self.server.passwords.append(password)
        return True

    def kbdint_auth_supported(self) -> bool:
        return self.server.only_asks

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        self.server.passwords += responses
        return True


async def test_a_server_that_asks_for_the_password_gets_it():
    """Some servers take a password only as the answer to a question."""
    server = FakeSshServer(only_asks=True)
    port = await server.listen()
    async with connected(nowhere(port)) as guard:
        ran = await guard.use("run", {"command": "true"})
    await server.end()

    assert (ran.exit_status, server.passwords) == (0, [CANARY])


# Bad weather


async def test_a_closed_port_is_unreachable():
    """Nobody listens: the network's move."""
    error = await failure(nowhere(closed_port()))

    assert isinstance(error, Unreachable)
    assert "refused the connection" in error.message


async def test_a_black_hole_ends_by_the_deadline():
    """A server that says nothing does not hold anybody for longer than the deadline."""
    with black_hole() as hole:
        error = await failure(nowhere(hole.port), timeout_s=0.5)

    assert isinstance(error, Unreachable)


async def test_an_unknown_request_is_refused(sshd):
    """A request with another key is refused, before anything is sent."""
    async with connected(at(sshd)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("run", {"command": "true", "user": "root"})


async def test_a_connection_that_is_lost_in_a_run_is_told(sshd):
    """Where the connection is lost while something runs, nobody knows how it ended, and the error says so."""
    seconds = mark()

    async with connected(at(sshd)) as guard:
        running = asyncio.create_task(guard.use("run", {"command": "sleep", "arguments": [seconds]}))
        assert await is_running(f"sleep {seconds}", expected=True)
        await asyncio.to_thread(end_sessions, sshd)
        with pytest.raises(Unreachable):
            await running
    subprocess.run(["pkill", "-f", f"sleep {seconds}"], check=False)


async def test_a_cut_connection_heals(sshd):
    """When the server's sessions are killed, the next run works, without a new connector."""
    async with connected(at(sshd)) as guard:
        await guard.use("run", {"command": "true"})
        await asyncio.to_thread(end_sessions, sshd)
        await asyncio.sleep(0.05)

        assert (await guard.use("run", {"command": "true"})).exit_status == 0


# For a long time


async def test_a_thousand_runs_leak_nothing(sshd):
    """A thousand runs, 32 at a time, leave no more sockets, tasks and threads than before."""

    def held() -> tuple[int, int, int]:
        helpers = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
        return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), threading.active_count() - helpers

    async with connected(at(sshd)) as guard:
        await guard.use("run", {"command": "true"})
        await guard.rest()
        before = held()
        places = asyncio.Semaphore(32)

        async def use() -> int | None:
            async with places:
                return (await guard.use("run", {"command": "true"})).exit_status

        statuses = await asyncio.gather(*(use() for _ in range(1000)))
        await guard.rest()
        for _ in range(100):
            if all(now <= then for now, then in zip(held(), before, strict=True)):
                break
            await asyncio.sleep(0.02)
        after = held()

    assert set(statuses) == {0}
    assert all(now <= then for now, then in zip(after, before, strict=True)), f"{before} before, {after} after"


async def test_runs_at_the_same_time_share_one_connection(sshd):
    """Eight runs at a time are eight sessions of one connection."""
    async with connected(at(sshd)) as guard:
        ports = await asyncio.gather(
            *(guard.use("run", {"script": 'sleep 0.1; echo "${SSH_CLIENT}"'}) for _ in range(20))
        )

    assert len({ran.stdout for ran in ports}) == 1


async def test_use_after_rest(sshd):
    """What gave its socket back is used again."""
    async with connected(at(sshd)) as guard:
        await guard.use("run", {"command": "true"})
        rested = await guard.rest()
        again = await guard.use("run", {"command": "true"})

    assert (rested, again.exit_status) == (True, 0)
