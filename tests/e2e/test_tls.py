"""TLS of the control plane's own port: with real sockets, a real worker, and certificates of an authority made here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from cryptography import x509

from mooring import errors
from mooring.sdk.client import Client
from tests.support.plane import email

START_S = 45.0


def clean_environment(**settings: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
    return environment | {"MOORING_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1", **settings}


@dataclass
class Served:
    """`mooring serve` with TLS on a free port of 127.0.0.1, and the authority that its certificate is from."""

    ca: trustme.CA
    folder: Path
    port: int = 0
    token: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def install(self, *names: str, days: int = 365, broken: bool = False) -> int:
        """Put a new certificate in place, as a renewal does; its serial."""
        issued = self.ca.issue_cert(*(names or ("127.0.0.1",)), not_after=datetime.now(UTC) + timedelta(days=days))
        pem = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        key = self.ca.issue_cert("other").private_key_pem.bytes() if broken else issued.private_key_pem.bytes()
        for name, content in (("tls.key", key), ("tls.pem", pem)):
            fresh = self.folder / f"{name}.new"
            fresh.write_bytes(content)
            fresh.replace(self.folder / name)
        return x509.load_pem_x509_certificate(pem).serial_number

    def run(self, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mooring", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_environment(**settings),
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start(self) -> None:
        self.run(
            "serve", "--port", "0", "--data-dir", str(self.folder / "data"),
            MOORING_TLS_CERTIFICATE=str(self.folder / "tls.pem"), MOORING_TLS_KEY=str(self.folder / "tls.key"),
        )  # fmt: skip
        self.until(lambda: "Mooring listens on https://127.0.0.1:" in self.log)
        self.port = int(self.log.partition("https://127.0.0.1:")[2].split()[0])
        self.token = (self.folder / "data" / "admin-token").read_text().strip()

    def until(self, holds: Any, seconds: float = START_S) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.05)

    def handshake(self, **context: Any) -> ssl.SSLSocket:
        tls = ssl.create_default_context(cafile=str(self.ca_file))
        for name, value in context.items():
            setattr(tls, name, value)
        return tls.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="127.0.0.1")

    def serial(self) -> int:
        """Of the certificate that a new handshake is shown."""
        with self.handshake() as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def client(self) -> Client:
        return Client(self.url, self.token, ca_file=self.ca_file)


@contextlib.contextmanager
def serving(days: int = 365) -> Iterator[Served]:
    served = Served(trustme.CA(), Path(tempfile.mkdtemp(prefix="mooring-tls-")))
    try:
        served.ca_file.write_bytes(served.ca.cert_pem.bytes())
        served.install(days=days)
        served.start()
        yield served
    finally:
        for process in reversed(served.processes):
            process.send_signal(signal.SIGTERM)
        for process in served.processes:
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(served.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def ask(connection: socket.socket, path: str = "/healthz") -> bytes:
    """One request on a connection that stays open; its body."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return received.partition(b"\r\n\r\n")[2]


def everything(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_the_api_speaks_tls(served: Served) -> None:
    """The SDK reaches it with the authority's file."""
    with served.client() as client:
        assert client.list_environments()["success"] is True


def test_a_worker_connects_on_the_same_port(served: Served) -> None:
    """It enrols over https and streams over wss, and takes what is deployed."""
    with served.client() as client:
        client.create_project("Shop")
        client.create_environment("production", type="PRODUCTION", projects=["Shop"])
        enrolment = client.create_enrolment("production")["token"]
        worker = served.folder / "w"
        served.run(
            "--ca-file", str(served.ca_file), "worker", "--url", served.url, "--environment", "production",
            "--data-dir", str(worker), "--name", "w1", MOORING_ENROL_TOKEN=enrolment,
        )  # fmt: skip
        served.until(lambda: any(w["online"] for w in client.list_workers()["resultList"]))

        result = client.create_connection("Shop", email("mail"), wait_seconds=20)["deploymentResult"]

    assert result["state"] == "SUCCEEDED"


def test_an_unknown_authority_is_refused(served: Served) -> None:
    """By the SDK, without a request having been sent."""
    with Client(served.url, served.token) as client, pytest.raises(errors.Unavailable, match="cannot be reached"):
        client.list_environments()


def test_another_name_is_refused(served: Served) -> None:
    """The certificate must be for the name that was asked for."""
    url = f"https://localhost:{served.port}"
    with Client(url, served.token, ca_file=served.ca_file) as client, pytest.raises(errors.Unavailable):
        client.list_environments()


def test_old_versions_are_refused(served: Served) -> None:
    """TLS 1.2 is the least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", served.port), 10))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_newer_versions_are_spoken(served: Served, version: ssl.TLSVersion) -> None:
    """With keys that are forgotten afterwards."""
    with served.handshake(maximum_version=version) as connection:
        cipher = connection.cipher()

    assert cipher is not None and ("ECDHE" in cipher[0] or cipher[0].startswith("TLS_"))


def test_plain_http_is_told_what_is_wrong(served: Served) -> None:
    """In the documented shape, and not with a dropped connection."""
    response = httpx2.get(f"http://127.0.0.1:{served.port}/healthz")

    assert response.status_code == 400
    assert response.json() == {"error": "bad_request", "error_description": "This port speaks TLS: use https://"}


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\x05hello", b"\x00" * 100, b"SSH-2.0-x\r\n"])
def test_garbage_ends_quickly(served: Served, data: bytes) -> None:
    """And the next client is served."""
    with socket.create_connection(("127.0.0.1", served.port), 15) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        everything(connection)

    with served.handshake() as connection:
        assert ask(connection) == b'{"status":"ok"}'


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00"])
def test_a_slow_handshake_is_ended(served: Served, sent: bytes) -> None:
    """By a deadline, whether nothing comes or half of something; others are served meanwhile."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", served.port), 30) as connection:
        connection.sendall(sent)
        with served.handshake() as other:
            assert ask(other) == b'{"status":"ok"}'
        everything(connection)

    assert 5 < time.monotonic() - started < 20


def test_what_is_no_http_is_answered_inside_of_tls(served: Served) -> None:
    """With the documented 400, and the connection ends."""
    with served.handshake() as connection:
        connection.sendall(b"\x01\x02 nonsense\r\n\r\n")
        received = everything(connection)

    assert received.startswith(b"HTTP/1.1 400 ") and b'"error":"bad_request"' in received


def test_a_large_body_gets_its_answer_inside_of_tls(served: Served) -> None:
    """The refusal arrives although the client is still sending."""
    with served.client() as client, pytest.raises(errors.BadRequest, match="larger than"):
        client.create_connection("Shop", email("large", description="x" * 2_000_000))


def test_a_new_certificate_is_presented(served: Served) -> None:
    """To new handshakes, within seconds; a connection that is open goes on."""
    with served.handshake() as open_connection:
        ask(open_connection)
        serial = served.install()
        served.until(lambda: served.serial() == serial, 10)

        assert ask(open_connection) == b'{"status":"ok"}'


def test_a_broken_new_certificate_is_not_taken(served: Served) -> None:
    """It is logged, and the one before serves on; the next good one is taken."""
    before = served.serial()
    served.install(broken=True)
    served.until(lambda: "tls_certificate_refused" in served.log, 10)
    during = served.serial()
    after = served.install()
    served.until(lambda: served.serial() == after, 10)

    assert during == before
    assert str(served.folder) not in next(line for line in served.log.splitlines() if "refused" in line)


def test_a_certificate_that_ends_soon_is_shown() -> None:
    """In the log and on /readyz, from thirty days on."""
    with serving(days=10) as served:
        served.until(lambda: "tls_certificate_ends" in served.log, 10)
        with served.handshake() as connection:
            body = json.loads(ask(connection, "/readyz"))

    assert body["status"] == "ok" and "The TLS certificate of this port ends on" in body["notices"][0]


# plain HTTP


def mooring(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mooring", *arguments], env=clean_environment(**settings), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("program", ["serve", "dev"])
def test_plain_http_beyond_loopback_does_not_start(tmp_path: Path, program: str) -> None:
    """And the message says what to do; nothing is made."""
    done = mooring(program, "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "data"))

    assert done.returncode == 1 and "TLS" in done.stderr and not (tmp_path / "data").exists()


def test_a_key_without_its_certificate_does_not_start(tmp_path: Path) -> None:
    """Nobody shall believe that TLS is on."""
    done = mooring("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), MOORING_TLS_KEY="k.pem")

    assert done.returncode == 1 and "MOORING_TLS_CERTIFICATE" in done.stderr


@pytest.mark.parametrize(
    "content", [None, "", "nonsense", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
)
def test_an_unusable_certificate_does_not_start(tmp_path: Path, content: str | None) -> None:
    """With a sentence, and not with a stack trace."""
    if content is not None:
        (tmp_path / "c.pem").write_text(content)
    done = mooring(
        "serve", "--port", "0", "--data-dir", str(tmp_path / "data"), MOORING_TLS_CERTIFICATE=str(tmp_path / "c.pem")
    )

    assert done.returncode == 1 and "MOORING_TLS_CERTIFICATE" in done.stderr and "Traceback" not in done.stderr


def test_something_in_front_may_terminate_tls(tmp_path: Path) -> None:
    """Where a setting says so, plain HTTP is spoken beyond loopback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mooring", "serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "d")],
        env=clean_environment(MOORING_TLS_TERMINATED_ELSEWHERE="true"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode()
    finally:
        process.terminate()
        process.communicate(timeout=30)

    assert line.startswith("Mooring listens on http://")


@pytest.mark.parametrize("arguments", [("worker", "--data-dir", "w", "--enrol-token", "x"), ("project", "list")])
def test_plain_urls_beyond_loopback_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """By the worker and the command line, before anything is sent."""
    done = mooring(*arguments, MOORING_URL="http://mooring.invalid:8080", MOORING_TOKEN="mrg_pat_x")

    assert done.returncode == 1 and "clear text" in done.stderr and "MOORING_ALLOW_PLAIN_HTTP" in done.stderr


def test_plain_urls_are_refused_by_the_sdk() -> None:
    """Unless allowed."""
    with pytest.raises(errors.BadRequest, match="clear text"):
        Client("http://mooring.invalid:8080", "mrg_pat_x")
    Client("http://mooring.invalid:8080", "mrg_pat_x", allow_plain_http=True).close()
