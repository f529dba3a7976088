"""
A fake key service that speaks the JSON protocol of AWS KMS over HTTP, and checks Signature Version 4.

It is a fake: no real one can be had here. The signature is computed anew by other code than the product's, from what
came over the wire.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ACCESS, SECRET, REGION = "AKIDFAKE", "fake-kms-secret-key", "eu-test-1"


class Refusal(Exception):
    """An error of the service's list."""


@dataclass
class FakeKms:
    """Keys by id; `calls` are the actions that were carried out, `broken` an error for all of them."""

    port: int = 0
    keys: dict[str, bytes] = field(default_factory=lambda: {"alias/mooring": bytes(range(32))})
    calls: list[str] = field(default_factory=list)
    broken: str | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def settings(self) -> dict[str, str]:
        """What a control plane is told to use it."""
        return {
            "key_provider": "kms", "kms_key_id": "alias/mooring", "kms_endpoint": self.endpoint, "kms_region": REGION,
            "kms_access_key_id": ACCESS, "kms_secret_access_key": SECRET,
        }  # fmt: skip

    def carry_out(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.broken:
            raise Refusal(self.broken)
        context = json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()
        if action == "Decrypt":
            blob = base64.b64decode(body["CiphertextBlob"])
            name, _, rest = blob.partition(b"|")
            if body.get("KeyId", name.decode()) != name.decode():
                raise Refusal("IncorrectKeyException")
            try:
                plain = AESGCM(self._key(name.decode())).decrypt(rest[:12], rest[12:], context)
            except InvalidTag:
                raise Refusal("InvalidCiphertextException") from None
            return {"KeyId": name.decode(), "Plaintext": base64.b64encode(plain).decode()}
        if action == "Encrypt":
            nonce = hashlib.sha256(str(len(self.calls)).encode()).digest()[:12]
            sealed = AESGCM(self._key(body["KeyId"])).encrypt(nonce, base64.b64decode(body["Plaintext"]), context)
            blob = body["KeyId"].encode() + b"|" + nonce + sealed
            return {"KeyId": body["KeyId"], "CiphertextBlob": base64.b64encode(blob).decode()}
        raise Refusal("UnknownOperationException")

    def _key(self, name: str) -> bytes:
        if name not in self.keys:
            raise Refusal("NotFoundException")
        return self.keys[name]


def check_signature(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    """Raises `Refusal` unless the request was signed with SECRET."""
    words = dict(
        part.strip().split("=", 1) for part in headers.get("authorization", "").removeprefix("AWS4-HMAC-SHA256 ").split(",") if "=" in part
    )  # fmt: skip
    credential = words.get("Credential", "").split("/")
    if len(credential) != 5 or credential[0] != ACCESS:
        raise Refusal("UnrecognizedClientException")
    _, day, region, service, end = credential
    names = words["SignedHeaders"].split(";")
    if (region, service, end) != (REGION, "kms", "aws4_request") or not {"host", "x-amz-date"} <= set(names):
        raise Refusal("InvalidSignatureException")
    canonical = f"{method}\n{path}\n\n"
    for name in names:
        canonical += f"{name}:{headers[name].strip()}\n"
    canonical += f"\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
    scope = "/".join((day, region, service, end))
    to_sign = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + SECRET.encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, words.get("Signature", "")):
        raise Refusal("InvalidSignatureException")


@contextlib.contextmanager
def fake_kms(fake: FakeKms | None = None) -> Iterator[FakeKms]:
    """A running one; given again, it comes back on the same port with the same keys."""
    fake = fake or FakeKms()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                check_signature("POST", self.path, headers, body)
                action = headers["x-amz-target"].removeprefix("TrentService.")
                status, answer = 200, fake.carry_out(action, json.loads(body))
                fake.calls.append(action)
            except Refusal as exc:
                status, answer = 400, {"__type": f"com.amazonaws.kms#{exc}", "message": "no"}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.1")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", fake.port), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
