"""Files on real servers, and servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import uvloop
from tests.support.fileservers import end_sessions, files_of, serving_us
from tests.support.services import Service, black_hole, closed_port, service

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.ftp.messages import PIECE_BYTES
from mooring.types.ftp.sessions import PLACES
from mooring.types.ftp.tests.fake import LOGIN, Answering, after_auth_tls, fake_ftp_server
from mooring.types.ftp.tests.target import body_for, client_store

EVERY_BYTE = bytes(range(256)) * 40
MB = 1024 * 1024

SERVERS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "ftp": ("vsftpd", "port", "FTP", {}),
    "explicit": ("vsftpd", "explicit_port", "FTPS", {"useExplicit": True}),
    "implicit": ("vsftpd", "implicit_port", "FTPS", {"useImplicit": True}),
    "proftpd": ("proftpd", "explicit_port", "FTPS", {"useExplicit": True}),
    "sftp": ("sshd", "port", "SFTP", {}),
}


_made: list[Path] = []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """The folders that a test had on the servers are taken away after it."""
    yield
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)


class At:
    """A folder of a test's own on a server: the body that leads there, and the folder on disk."""

    def __init__(self, server: Service, body: dict[str, Any]) -> None:
        self.server, self.ca = server, server.ca
        name = f"t{uuid.uuid4().hex}"
        self.disk = files_of(server) / name
        self.disk.mkdir()
        _made.append(self.disk)
        owner = files_of(server).stat()
        os.chown(self.disk, owner.st_uid, owner.st_gid)
        self.body = {**body, "name": "files", "workingDir": f"{body['workingDir']}/{name}"}

    def connected(self, **fields: Any) -> Any:
        return connected({**self.body, **fields}, ca_file=self.ca)


def at(kind: str) -> At:
    name, port, protocol, fields = SERVERS[kind]
    server = service(name)
    return At(server, body_for(server, port, protocol, **fields))


@pytest.fixture(params=["ftp", "explicit", "proftpd", "sftp"])
def files(request) -> At:
    """A folder on each kind of server in turn."""
    return at(request.param)


@pytest.fixture
def ftp() -> At:
    """A folder on a plain FTP server."""
    return at("ftp")


@pytest.fixture
def sftp() -> At:
    """A folder on an SSH server."""
    return at("sftp")


def fake(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "ftp", "name": "fake", "host": "127.0.0.1", "port": port, "protocol": "FTP",
        "username": "ada", "password": "s3cr3t-canary-pw", "retryCount": 0, **fields,
    }  # fmt: skip


async def failure(
    config: dict[str, Any], operation: str = "list", timeout_s: float = 5.0, **request: Any
) -> ConnectorError:
    ca_file = request.pop("ca_file", None)
    async with connected(config, ca_file=ca_file) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use(operation, request, timeout_s)
    return caught.value


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def held() -> tuple[int, int, int]:
    helpers = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), threading.active_count() - helpers


# What it does


async def test_a_file_is_stored_and_fetched_byte_for_byte(files):
    """What is put lies on the server's disk as it was, and is got back as it was."""
    async with files.connected() as guard:
        stored = await guard.use("put", {"path": "ışığın ölçüsü.bin", "content": EVERY_BYTE})
        got = await guard.use("get", {"path": "ışığın ölçüsü.bin"})

    assert (files.disk / "ışığın ölçüsü.bin").read_bytes() == got.content == EVERY_BYTE
    assert (stored.complete, stored.size, got.complete, got.size) == (True, len(EVERY_BYTE), True, len(EVERY_BYTE))
    assert [path.name for path in files.disk.iterdir()] == ["ışığın ölçüsü.bin"]


async def test_what_is_got_as_json_can_be_put(ftp):
    """Over JSON the bytes are in the base64 that every decoder knows, and that `put` takes."""
    (ftp.disk / "a.bin").write_bytes(b"\xfb\xff\xfe" * 100)

    async with ftp.connected() as guard:
        got = json.loads((await guard.use("get", {"path": "a.bin"})).model_dump_json(by_alias=True))
        await guard.use("put", {"path": "b.bin", "content": got["content"]})

    assert base64.b64decode(got["content"], validate=True) == (ftp.disk / "b.bin").read_bytes() == b"\xfb\xff\xfe" * 100


async def test_text_is_stored_as_utf8():
    """`text` stands for its UTF-8, with the line ends that it has."""
    files = at("implicit")
    async with files.connected() as guard:
        await guard.use("put", {"path": "a.txt", "text": "ığüşöç\r\n\n"})

    assert (files.disk / "a.txt").read_bytes() == "ığüşöç\r\n\n".encode()


async def test_a_directory_is_listed(files):
    """A listing has names, kinds, sizes and times, in the order of their names; odd names stay what they are."""
    names = ["* ?.txt", "-la", "Ğ.csv", "a b.txt", "~root"]
    for name in names:
        (files.disk / name).write_bytes(b"12345")
    (files.disk / "sub").mkdir()

    async with files.connected() as guard:
        listing = await guard.use("list", {})

    assert [entry.name for entry in listing.entries] == sorted([*names, "sub"])
    kinds = {entry.name: (entry.type, entry.size) for entry in listing.entries}
    assert kinds["sub"] == ("directory", None)
    assert {kinds[name] for name in names} == {("file", 5)}
    assert all(entry.modified.startswith(time.strftime("%Y-")) for entry in listing.entries)


@pytest.mark.parametrize("name", ["-la", "~root", "a b", "ışık", "[x]*"])
async def test_a_directory_of_any_name_is_listed(files, name):
    """A directory's name is no option, no pattern and nobody's home; the next listing begins at the top again."""
    (files.disk / name).mkdir()
    (files.disk / name / "inside.txt").write_bytes(b"1")

    async with files.connected() as guard:
        inside = await guard.use("list", {"path": name})
        top = await guard.use("list", {})

    assert [entry.name for entry in inside.entries] == ["inside.txt"]
    assert [entry.name for entry in top.entries] == [name]


async def test_a_long_listing_is_cut(files):
    """No more than `limit` entries are answered, and the answer says that there are more."""
    for number in range(20):
        (files.disk / f"{number:02}.txt").write_bytes(b"")

    async with files.connected() as guard:
        cut = await guard.use("list", {"limit": 5})
        whole = await guard.use("list", {"limit": 20})

    assert (len(cut.entries), cut.truncated, len(whole.entries), whole.truncated) == (5, True, 20, False)


async def test_a_file_is_fetched_in_parts(files):
    """Parts with offset and length make up the file, and the last one says so."""
    (files.disk / "big.bin").write_bytes(EVERY_BYTE)

    async with files.connected() as guard:
        parts, offset, complete = [], 0, False
        while not complete:
            piece = await guard.use("get", {"path": "big.bin", "offset": offset, "length": 3000})
            parts.append(piece.content)
            offset, complete = piece.next_offset, piece.complete

    assert b"".join(parts) == EVERY_BYTE
    assert len(parts) == 4


async def test_what_is_too_long_for_one_answer_is_refused(files):
    """A file longer than an answer may be is not begun, and the error says what to do; its parts are had."""
    (files.disk / "big.bin").write_bytes(bytes(PIECE_BYTES + 1))

    async with files.connected() as guard:
        with pytest.raises(Misconfigured, match="8388609 bytes") as caught:
            await guard.use("get", {"path": "big.bin"})
        rest = await guard.use("get", {"path": "big.bin", "offset": 1})

    assert "offset and length" in caught.value.hint
    assert (len(rest.content), rest.complete) == (PIECE_BYTES, True)


async def test_an_upload_in_parts_appears_when_it_is_complete(files):
    """Until the last part is there, nothing stands under the name; an older file of that name stays."""
    (files.disk / "a.bin").write_bytes(b"old")
    half = len(EVERY_BYTE) // 2

    async with files.connected() as guard:
        first = await guard.use("put", {"path": "a.bin", "content": EVERY_BYTE[:half], "more": True})
        between = (files.disk / "a.bin").read_bytes()
        last = await guard.use(
            "put", {"path": "a.bin", "content": EVERY_BYTE[half:], "upload": first.upload, "offset": first.size}
        )

    assert (between, first.complete, last.complete, last.size) == (b"old", False, True, len(EVERY_BYTE))
    assert (files.disk / "a.bin").read_bytes() == EVERY_BYTE
    assert [path.name for path in files.disk.iterdir()] == ["a.bin"]


async def test_a_part_may_be_sent_again(files):
    """A part whose answer was lost is sent again, and the file is what it should be."""
    async with files.connected() as guard:
        first = await guard.use("put", {"path": "a.bin", "content": b"12345", "more": True})
        second = {"path": "a.bin", "content": b"67890", "upload": first.upload, "offset": 5}
        await guard.use("put", {**second, "more": True})
        await guard.use("put", {**second, "more": True})
        await guard.use("put", {"path": "a.bin", "text": "!", "upload": first.upload, "offset": 10})

    assert (files.disk / "a.bin").read_bytes() == b"1234567890!"


async def test_a_gap_between_parts_is_refused(files):
    """A part that begins after the end of what is there is refused, and the error says how much is there."""
    async with files.connected(retryCount=0) as guard:
        first = await guard.use("put", {"path": "a.bin", "content": b"12345", "more": True})
        with pytest.raises(Unreachable, match="holds 5 bytes of this upload, and the next part begins at 7"):
            await guard.use("put", {"path": "a.bin", "content": b"x", "upload": first.upload, "offset": 7})

    assert not (files.disk / "a.bin").exists()


async def test_an_upload_is_given_up(files):
    """An unfinished upload is deleted by the name that it was answered with."""
    async with files.connected() as guard:
        first = await guard.use("put", {"path": "a.bin", "content": b"12345", "more": True})
        there = list(files.disk.iterdir())
        deleted = await guard.use("delete", {"path": "a.bin", "upload": first.upload})

    assert (len(there), deleted.deleted, list(files.disk.iterdir())) == (1, True, [])


async def test_a_file_is_not_replaced_where_that_is_not_allowed(files):
    """Without `overwrite` a file that is there stays, and nothing is left behind."""
    (files.disk / "a.txt").write_bytes(b"old")

    async with files.connected() as guard:
        with pytest.raises(Misconfigured, match="a file a.txt already"):
            await guard.use("put", {"path": "a.txt", "text": "new", "overwrite": False})
        await guard.use("put", {"path": "b.txt", "text": "new", "overwrite": False})

    assert {path.name: path.read_bytes() for path in files.disk.iterdir()} == {"a.txt": b"old", "b.txt": b"new"}


async def test_directories_are_made_when_asked(files):
    """`makeDirectories` makes those that lead to the file; without it they must be there."""
    async with files.connected() as guard:
        with pytest.raises(Misconfigured):
            await guard.use("put", {"path": "2026/11/a.txt", "text": "x"})
        for _ in range(2):
            await guard.use("put", {"path": "2026/11/a.txt", "text": "x", "makeDirectories": True})

    assert (files.disk / "2026" / "11" / "a.txt").read_bytes() == b"x"


async def test_a_file_is_deleted(files):
    """What is deleted is gone; what is not there is an error, unless that was said to be right."""
    (files.disk / "a.txt").write_bytes(b"x")

    async with files.connected() as guard:
        deleted = await guard.use("delete", {"path": "a.txt"})
        again = await guard.use("delete", {"path": "a.txt", "missingOk": True})
        with pytest.raises(Misconfigured) as caught:
            await guard.use("delete", {"path": "a.txt"})

    assert (deleted.deleted, again.deleted, list(files.disk.iterdir())) == (True, False, [])
    assert "workingDir" in caught.value.hint


async def test_what_is_not_there_cannot_be_fetched(files):
    """A missing file, and a missing directory, are told as such; the session is still good."""
    async with files.connected() as guard:
        for operation in ("get", "list"):
            with pytest.raises(Misconfigured) as caught:
                await guard.use(operation, {"path": "missing"})
            assert "Check the path" in caught.value.hint
        assert (await guard.use("list", {})).entries == []


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "..\\x", "/etc/passwd", "a\r\nDELE b", "a\nb", "a\x00b", "", "a/"]
)
async def test_a_path_stays_below_the_directory(ftp, path):
    """Paths that lead out, or that hold a line break, are refused before anything is sent."""
    async with ftp.connected() as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("get", {"path": path})


# Streams


async def written(guard: Any, path: str, blocks: int, block: bytes, **fields: Any) -> None:
    remote = await guard.native()
    async with remote.writing(path, **fields) as write:
        for _ in range(blocks):
            await write(block)


@pytest.mark.parametrize("kind", ["ftp", "explicit", "sftp"])
async def test_streams_of_any_size_take_little_memory(kind):
    """200 MB go to the server and come back, a block in memory at a time, also while nobody reads."""
    files, block, blocks = at(kind), os.urandom(MB), 200

    async with files.connected() as guard:
        await guard.use("list", {})
        gc.collect()
        before = highest = resident_mb()
        await written(guard, "big.bin", blocks, block)
        highest = max(highest, resident_mb())
        got, remote = hashlib.sha256(), await guard.native()
        async with remote.reading("big.bin") as pieces:
            async for piece in pieces:
                got.update(piece)
                highest = max(highest, resident_mb())
    expected = hashlib.sha256()
    for _ in range(blocks):
        expected.update(block)
    with (files.disk / "big.bin").open("rb") as file:
        on_disk = hashlib.file_digest(file, "sha256")

    assert got.digest() == on_disk.digest() == expected.digest()
    assert highest - before < 48


@pytest.mark.parametrize("kind", ["ftp", "sftp"])
async def test_a_long_file_goes_in_parts_with_little_memory(kind):
    """200 MB are stored and fetched by `put` and `get`, as programs do that reach a worker over its API."""
    files, part, parts = at(kind), os.urandom(PIECE_BYTES), 25

    async with files.connected() as guard:
        before = highest = resident_mb()
        upload = {}
        for number in range(parts):
            more = number < parts - 1
            stored = await guard.use("put", {"path": "big.bin", "content": part, "more": more, **upload})
            upload = {"upload": stored.upload, "offset": stored.size}
            highest = max(highest, resident_mb())
        offset, complete, equal = 0, False, True
        while not complete:
            piece = await guard.use("get", {"path": "big.bin", "offset": offset, "length": PIECE_BYTES})
            equal = equal and piece.content == part
            offset, complete = piece.next_offset, piece.complete
            highest = max(highest, resident_mb())

    assert (offset, equal) == (parts * PIECE_BYTES, True)
    assert (files.disk / "big.bin").stat().st_size == offset
    assert highest - before < 80


@pytest.mark.parametrize("kind", ["ftp", "explicit", "sftp"])
async def test_a_slow_reader_slows_the_server(kind):
    """While nobody reads a stream, it is not gathered in memory."""
    files = at(kind)
    with (files.disk / "big.bin").open("wb") as file:
        file.truncate(300 * MB)

    async with files.connected() as guard:
        remote = await guard.native()
        before = resident_mb()
        async with remote.reading("big.bin") as pieces:
            async for _ in pieces:
                await asyncio.sleep(0.5)
                break
        grown = resident_mb() - before
        entries = (await guard.use("list", {})).entries

    assert grown < 48
    assert [entry.size for entry in entries] == [300 * MB]


def test_the_end_of_a_stream_is_not_lost():
    """On the event loop of a worker too, a slow reader gets every byte from a server that hangs up when it has sent them."""
    files, size = at("proftpd"), 40 * MB
    with (files.disk / "big.bin").open("wb") as file:
        file.truncate(size)

    async def read_slowly() -> int:
        got = 0
        async with files.connected() as guard:
            async with (await guard.native()).reading("big.bin") as pieces:
                async for piece in pieces:
                    got += len(piece)
                    await asyncio.sleep(0.001)
        return got

    for _ in range(3):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(read_slowly()) == size


async def test_a_broken_stream_never_shows_as_a_file(files):
    """Where the program that writes a stream fails, nothing stands under the name, and nothing is left behind."""
    async with files.connected() as guard:
        remote = await guard.native()
        with pytest.raises(ZeroDivisionError):
            async with remote.writing("a.bin") as write:
                await write(b"x" * MB)
                raise ZeroDivisionError

    assert list(files.disk.iterdir()) == []


async def test_a_stream_lives_on_while_the_connection_rests(ftp):
    """A connection that gives its sockets back does not take them from a stream; `close` waits for it."""
    async with ftp.connected() as guard:
        remote = await guard.native()
        async with remote.writing("a.bin") as write:
            await write(b"1")
            await guard.rest()
            await write(b"2")
        await guard.use("list", {})

    assert (ftp.disk / "a.bin").read_bytes() == b"12"


async def test_the_drivers_own_client_can_be_had(files):
    """`session` gives the driver's client, logged in and in its directory."""
    (files.disk / "a.txt").write_bytes(b"12345")

    async with files.connected() as guard:
        remote = await guard.native()
        async with remote.session() as client:
            if isinstance(client, asyncssh.SFTPClient):
                await client.rename(f"{files.body['workingDir']}/a.txt", f"{files.body['workingDir']}/b.txt")
            else:
                await client.rename("a.txt", "b.txt")
                async with client.download_stream("b.txt") as stream:
                    assert await stream.read() == b"12345"

    assert [path.name for path in files.disk.iterdir()] == ["b.txt"]


# Who it talks to


async def test_a_wrong_password_is_rejected(files):
    """A wrong password is the owner's to mend, is tried once, and is not repeated in the error."""
    async with files.connected(password="s3cr3t-canary-pw") as guard:
        with pytest.raises(Rejected, match="refused the login as") as caught:
            await guard.use("list", {})
        report = await guard.probe()

    assert "s3cr3t-canary-pw" not in f"{caught.value} {caught.value.hint} {report}"
    assert (report.failure.name, report.failure.code) == ("login", "rejected")


async def test_every_step_of_a_probe_passes(files):
    """A probe goes all the way, before the first use too."""
    async with files.connected() as guard:
        report = await guard.probe()

    assert report.ok, report
    assert [step.name for step in report.steps][-1] == "working directory"


async def test_a_missing_working_directory_is_told(files):
    """A directory that is not there fails at its own step."""
    async with files.connected(workingDir="/no/such/place") as guard:
        report = await guard.probe()
        with pytest.raises(Misconfigured):
            await guard.use("list", {})

    assert (report.failure.name, report.failure.code) == ("working directory", "misconfigured")


async def test_a_relative_working_directory_begins_where_the_login_does(sftp):
    """A directory without a slash in front is below the account's own."""
    (sftp.disk / "a.txt").write_bytes(b"x")

    async with sftp.connected(workingDir=sftp.disk.name) as guard:
        assert [entry.name for entry in (await guard.use("list", {})).entries] == ["a.txt"]


@pytest.mark.parametrize(
    ("asked", "spoken"), [("TLSv1.2", "TLSv1.2"), ("TLS1.2", "TLSv1.2"), ("TLS", "TLSv1.3"), (None, "TLSv1.3")]
)
async def test_the_tls_version_is_the_one_asked_for(asked, spoken):
    """`sslProtocol` sets the version, in each of its spellings; a kind of protocol leaves the choice."""
    files = at("explicit")

    async with files.connected(sslProtocol=asked) as guard:
        async with (await guard.native()).session() as client:
            assert client.stream.writer.get_extra_info("ssl_object").version() == spoken


async def test_an_unknown_tls_version_is_refused():
    """A text that is no version of TLS is told when the connection is opened."""
    files = at("explicit")

    with pytest.raises(Misconfigured, match="sslProtocol"):
        async with files.connected(sslProtocol="SSLv3"):
            pass


async def test_the_server_must_be_known():
    """Without its CA, a server is refused before the login."""
    files = at("implicit")

    error = await failure({**files.body, "retryCount": 0})

    assert isinstance(error, Misconfigured)
    assert "certificate was not accepted" in error.message


async def test_a_truststore_counts_in_place_of_the_systems():
    """`trustStoreName` says whom to trust; one that is missing, or empty, is told when the connection is opened."""
    files = at("explicit")
    trusted = {"ca": Store(trusted=Path(files.ca).read_text()), "empty": Store()}

    class Materials:
        def store(self, name: str) -> Store:
            if name not in trusted:
                raise MaterialMissing(f"no {name}")
            return trusted[name]

    async with connected({**files.body, "trustStoreName": "ca"}, materials=Materials()) as guard:
        await guard.use("list", {})
    for name, error in (("missing", MaterialMissing), ("empty", Misconfigured)):
        with pytest.raises(error):
            async with connected({**files.body, "trustStoreName": name}, materials=Materials()):
                pass


async def test_a_client_certificate_is_shown():
    """`keyStoreName` logs in where the server wants a certificate; without one it does not get that far."""
    server = service("vsftpd")
    body = {**body_for(server, "mutual_port", "FTPS", useExplicit=True), "name": "files", "retryCount": 0}

    class Materials:
        def store(self, name: str) -> Store:
            return client_store(server)

    async with connected({**body, "keyStoreName": "mine"}, ca_file=server.ca, materials=Materials()) as guard:
        await guard.use("list", {})
    error = await failure(body, ca_file=server.ca)

    assert isinstance(error, Misconfigured | Unreachable)


@pytest.mark.parametrize("checked", [True, False])
async def test_the_name_in_the_certificate_is_checked_unless_switched_off(checked):
    """`verifyHostname` decides whether a certificate for another name is taken; its issuer is checked in any case."""
    paths = service("vsftpd").certificates
    with fake_ftp_server(after_auth_tls(paths["wrong_name"], paths["wrong_name_key"])) as port:
        body = fake(port, protocol="FTPS", useExplicit=True, verifyHostname=checked, timeout=1000)
        error = await failure(body, ca_file=paths["ca"])

    assert ("certificate was not accepted" in error.message) is checked


async def test_what_comes_before_tls_is_forgotten():
    """Replies that somebody put before the encryption are not taken for the server's."""
    paths = service("vsftpd").certificates
    injected = b"200 ok\r\n200 ok\r\n230 welcome\r\n200 ok\r\n250 there\r\n"
    with fake_ftp_server(after_auth_tls(paths["server"], paths["server_key"], before=injected)) as port:
        error = await failure(
            fake(port, protocol="FTPS", useExplicit=True, timeout=1000), ca_file=paths["ca"], operation="list"
        )

    assert isinstance(error, Unreachable | Misconfigured)


async def test_a_server_without_tls_never_gets_the_password():
    """Where FTPS is asked for and the server does not encrypt, the session ends before the login."""
    script = Answering({**LOGIN, "AUTH": "502 no"})
    with fake_ftp_server(script) as port:
        error = await failure(fake(port, protocol="FTPS", useExplicit=True))

    assert isinstance(error, Misconfigured)
    assert "the password was not sent" in error.message
    assert script.heard == ["AUTH TLS"]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_any_of_the_servers_host_keys_may_be_pinned(sftp, kind):
    """The pinned host key is found among those that the server has."""
    async with sftp.connected(hostKeyFingerprint=sftp.server["fingerprints"][kind]) as guard:
        await guard.use("list", {})
        report = await guard.probe()

    assert {step.name: step.state for step in report.steps}["host key"] == "passed"


async def test_another_host_key_is_refused(sftp):
    """A server with another host key than the pinned one is sent nothing, and the probe stops at its step."""
    async with sftp.connected(hostKeyFingerprint=f"SHA256:{'A' * 43}") as guard:
        with pytest.raises(Misconfigured, match="and not the expected one; nothing was sent to it") as caught:
            await guard.use("list", {})
        report = await guard.probe()

    assert sftp.server["fingerprints"]["ed25519"] in caught.value.message
    assert (report.failure.name, report.failure.code) == ("host key", "misconfigured")


async def test_first_use_is_told_with_the_fingerprint(sftp):
    """Without a pinned key the probe says which one was trusted, for a person to compare."""
    async with sftp.connected() as guard:
        report = await guard.probe()

    (step,) = [step for step in report.steps if step.name == "host key"]
    assert step.state == "unknown"
    assert sftp.server["fingerprints"]["ed25519"] in step.message


async def test_a_host_key_that_changes_is_refused():
    """What was trusted at first use is expected from then on."""
    port, keys = 0, [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]

    async def fake_ssh_server(key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            FakeSshServer, "127.0.0.1", port, server_host_keys=[key], sftp_factory=asyncssh.SFTPServer
        )

    server = await fake_ssh_server(keys[0])
    port = server.get_port()
    async with connected(fake(port, protocol="SFTP")) as guard:
        await guard.use("list", {"limit": 1})
        server.close()
        await guard.rest()
        server = await fake_ssh_server(keys[1])
        with pytest.raises(Misconfigured, match=r"had SHA256:\S+ before; nothing was sent to it"):
            await guard.use("list", {"limit": 1})
        server.close()


class FakeSshServer(asyncssh.SSHServer):
    """Lets everybody in who shows a password."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return True


async def test_a_data_connection_goes_to_the_servers_own_address():
    """An address in the reply to PASV is not gone to: the peer of the control connection is."""
    replies = {
        **LOGIN,
        "EPSV": "502 no",
        "PASV": "227 here (192,0,2,1,{high},{low})",
        "MLSD": "150 comes",
        "PWD": '257 "/"',
    }
    script = Answering(replies, data=b"type=file;size=1; a.txt\r\n")
    with fake_ftp_server(script) as port:
        async with connected(fake(port)) as guard:
            listing = await guard.use("list", {})

    assert ([entry.name for entry in listing.entries], script.dialled) == (["a.txt"], 1)


# Bad weather


async def test_a_closed_port_is_unreachable():
    """Nobody listens: the network's move."""
    error = await failure(fake(closed_port(), retryCount=1))

    assert isinstance(error, Unreachable)
    assert "refused the connection" in error.message


@pytest.mark.parametrize("protocol", ["FTP", "SFTP"])
async def test_timeout_bounds_the_way_in(protocol):
    """`timeout` ends a login that takes too long, before the deadline of the operation."""
    with black_hole() as hole:
        error = await failure(fake(hole.port, timeout=200, protocol=protocol))

    assert isinstance(error, Unreachable)
    assert "did not answer in time" in error.message


@pytest.mark.parametrize("retries", [0, 2])
async def test_retry_count_says_how_often_it_is_tried_again(retries):
    """A server that is busy is asked again as often as `retryCount` says, and no more."""
    script = Answering(LOGIN, greetings=("421 busy",))
    with fake_ftp_server(script) as port:
        error = await failure(fake(port, retryCount=retries))

    assert isinstance(error, Unreachable)
    assert script.met == retries + 1


async def test_a_retry_that_works_is_enough():
    """What works at the second attempt has worked."""
    script = Answering({**LOGIN, "MLSD": "150 comes"}, greetings=("421 busy", "220 ready"))
    with fake_ftp_server(script) as port:
        async with connected(fake(port, retryCount=1)) as guard:
            assert (await guard.use("list", {})).entries == []


async def test_what_may_have_been_done_is_not_done_again():
    """A delete whose answer is lost is not repeated; a listing is."""
    script = Answering({**LOGIN, "DELE": "421 going down", "MLSD": "421 going down"})
    with fake_ftp_server(script) as port:
        await failure(fake(port, retryCount=2), "delete", path="a")
        await failure(fake(port, retryCount=2), "list")

    assert [sum(line.startswith(verb) for line in script.heard) for verb in ("DELE", "MLSD")] == [1, 3]


async def test_a_transfer_that_ends_early_is_no_file():
    """Fewer bytes than the server promised are an error, although it said that all was well."""
    script = Answering({**LOGIN, "SIZE": "213 100", "RETR": "150 comes"}, data=b"0123456789")
    with fake_ftp_server(script) as port:
        error = await failure(fake(port), "get", path="a")

    assert isinstance(error, Unreachable)
    assert "ended a transfer at byte 10 of 100" in error.message


async def test_a_full_disk_is_told():
    """552 is for somebody to make room, and the part that was written is deleted."""
    replies = {**LOGIN, "STOR": "150 go on|552 disk full", "DELE": "250 gone", "SIZE": "550 no"}
    script = Answering(replies)
    with fake_ftp_server(script) as port:
        error = await failure(fake(port), "put", path="a", text="x")

    assert isinstance(error, Misconfigured)
    assert "552 disk full" in error.message
    assert [line for line in script.heard if line.startswith("DELE .mooring-")]


async def test_an_endless_reply_is_not_read_to_its_end():
    """A reply has a longest length."""
    script = Answering({**LOGIN, "USER": "331-" + "blah\r\n" * 20_000})
    with fake_ftp_server(script) as port:
        error = await failure(fake(port))

    assert isinstance(error, Unreachable)
    assert "did not answer as an FTP server does" in error.message


async def test_an_endless_listing_is_cut():
    """A listing ends at its limit, however much the server sends."""
    script = Answering({**LOGIN, "MLSD": "150 comes"}, data=b"".join(b"type=file; %d\r\n" % n for n in range(100_000)))
    with fake_ftp_server(script) as port:
        async with connected(fake(port)) as guard:
            listing = await guard.use("list", {"limit": 10})

    assert (len(listing.entries), listing.truncated) == (10, True)


async def test_a_secret_that_a_server_repeats_is_taken_out():
    """A server that repeats the password in its reply does not get it into an error."""
    script = Answering({**LOGIN, "PASS": "530 no, s3cr3t-canary-pw is wrong"})
    with fake_ftp_server(script) as port:
        error = await failure(fake(port))

    assert isinstance(error, Rejected)
    assert "s3cr3t-canary-pw" not in error.message


# For a long time


async def test_a_cut_connection_heals(files):
    """When the server's sessions are killed, the next use works, without a new connector."""
    async with files.connected() as guard:
        await guard.use("list", {})
        await asyncio.to_thread(end_sessions, files.server)
        await asyncio.sleep(0.05)
        await guard.use("put", {"path": "a.txt", "text": "x"})

    assert (files.disk / "a.txt").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["ftp", "explicit", "sftp"])
async def test_a_thousand_uses_leak_nothing(kind):
    """A thousand uses, 32 at a time, share a few sessions, and leave no more sockets, tasks and threads than before."""
    files, sessions = at(kind), 0
    (files.disk / "a.txt").write_bytes(b"x")
    async with files.connected() as guard:
        await guard.use("list", {})
        before_all = len(serving_us(files.server))
        await guard.rest()
        before = held()
        places = asyncio.Semaphore(32)

        async def use() -> None:
            async with places:
                await guard.use("get", {"path": "a.txt"})

        await asyncio.gather(*(use() for _ in range(1000)))
        sessions = len(serving_us(files.server)) - before_all
        await guard.rest()
        for _ in range(100):
            if all(now <= then for now, then in zip(held(), before, strict=True)):
                break
            await asyncio.sleep(0.02)
        after = held()

    assert all(now <= then for now, then in zip(after, before, strict=True)), f"{before} before, {after} after"
    assert sessions <= 3 * PLACES  # vsftpd has up to three processes for one


async def test_use_after_rest(files):
    """What gave its sockets back is used again."""
    async with files.connected() as guard:
        await guard.use("list", {})
        rested = await guard.rest()
        again = await guard.use("list", {})

    assert (rested, again.entries) == (True, [])


async def test_a_use_in_flight_is_finished_when_the_connection_closes(files):
    """Closing waits for what is going on."""
    async with files.connected() as guard:
        await guard.use("list", {})
        storing = asyncio.create_task(guard.use("put", {"path": "a.bin", "content": bytes(4 * MB)}))
        await asyncio.sleep(0)
        await guard.close(grace_s=10)

        assert (await storing).complete

    assert (files.disk / "a.bin").stat().st_size == 4 * MB
