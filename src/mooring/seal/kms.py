"""
A master key that a key service keeps: AWS KMS, or what speaks like it.

Three calls of its JSON protocol, signed with Signature Version 4. The service wraps data keys and unwraps them; the
master key never comes here. Every call ends by a deadline, and an answer is read up to a limit.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from mooring.errors import KeyUnavailable, UnknownSeal
from mooring.kit.aead import KEY_BYTES
from mooring.kit.record import record
from mooring.seal.keys import LOCAL, SERVICE

CALL_S = 10.0
MAX_ANSWER = 64 * 1024
_TARGET = "TrentService"
_JSON = "application/x-amz-json-1.1"


@record
class KmsAccount:
    """Who asks the key service, and where it is."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class KmsKey:
    """A `mooring.seal.keys.KeyProvider` whose master key is *key_id* of a key service."""

    def __init__(self, account: KmsAccount, key_id: str, *, ca_file: str | None = None) -> None:
        self._account, self._key_id, self._ca_file = account, key_id, ca_file
        self.place = "the key service"

    async def wrap(self, key_id: str, key: bytes, *, may_create: bool = False) -> bytes:
        answer = await self._call(
            "Encrypt",
            {"KeyId": self._key_id, "Plaintext": _text(key), "EncryptionContext": _context(key_id)},
        )
        return SERVICE + self._bytes(answer, "CiphertextBlob")

    async def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        if wrapped[:1] == LOCAL:
            raise KeyUnavailable(
                "the data keys were wrapped by a key in a file or a setting, not by a key service",
                hint="Set MOORING_KEY_PROVIDER back, or bring them over: mooring keys rewrap.",
            )
        if wrapped[:1] != SERVICE:
            raise UnknownSeal("the data keys are wrapped in a form this version does not know")
        answer = await self._call(
            "Decrypt",
            {"KeyId": self._key_id, "CiphertextBlob": _text(wrapped[1:]), "EncryptionContext": _context(key_id)},
        )
        key = self._bytes(answer, "Plaintext")
        if len(key) != KEY_BYTES:
            raise KeyUnavailable(f"{self.place} gave something that is no data key")
        return key

    async def first_root(self) -> bytes | None:
        return None

    async def _call(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        payload = json.dumps(body).encode()
        headers = signed(self._account, f"{_TARGET}.{action}", payload, datetime.datetime.now(datetime.UTC))
        try:
            async with (
                asyncio.timeout(CALL_S),
                self._client() as client,
                client.stream("POST", self._account.endpoint, content=payload, headers=headers) as response,
            ):
                answer = b""
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise KeyUnavailable(f"{self.place} answers without end")
        except TimeoutError:
            raise KeyUnavailable(
                f"{self.place} does not answer within {CALL_S:.0f} seconds", hint="It is asked again every few seconds."
            ) from None
        except httpx2.HTTPError as exc:
            raise KeyUnavailable(
                f"{self.place} cannot be reached ({type(exc).__name__})",
                hint="Check MOORING_KMS_ENDPOINT and the network. It is asked again every few seconds.",
            ) from None
        return self._read(action, response.status_code, answer)

    def _client(self) -> httpx2.AsyncClient:
        # No redirects, no proxy from the environment: what is signed goes to that very endpoint.
        verify = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
        return httpx2.AsyncClient(timeout=CALL_S, follow_redirects=False, trust_env=False, verify=verify)

    def _read(self, action: str, status: int, answer: bytes) -> dict[str, Any]:
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise KeyUnavailable(f"{self.place} answers {status} with something that is not its protocol")
        if status == 200:
            return found
        # `__type` is a name from the service's own list; the message beside it is not passed on.
        name = str(found.get("__type", "")).rpartition("#")[2]
        name = name if name.isascii() and name.isalnum() and len(name) < 80 else "an error"
        raise KeyUnavailable(f"{self.place} refuses {action}: {status} {name}", hint=_HINTS.get(name))

    def _bytes(self, answer: Mapping[str, Any], field: str) -> bytes:
        try:
            return base64.b64decode(answer[field], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise KeyUnavailable(f"{self.place} answers without {field}") from None


_HINTS = {
    "AccessDeniedException": "The policy of the key must allow kms:Encrypt and kms:Decrypt to these credentials.",
    "NotFoundException": "Check MOORING_KMS_KEY_ID and the region.",
    "DisabledException": "Enable the key again.",
    "KMSInvalidStateException": "The key is disabled, or its deletion is pending: cancel that.",
    "InvalidCiphertextException": "This data was sealed with another key, or the database was changed.",
    "IncorrectKeyException": "This data was sealed with another key: check MOORING_KMS_KEY_ID.",
    "UnrecognizedClientException": "Check MOORING_KMS_ACCESS_KEY_ID.",
    "InvalidSignatureException": "Check MOORING_KMS_SECRET_ACCESS_KEY, the region, and this machine's clock.",
    "ExpiredTokenException": "The session token has expired: give a new one and start again.",
}


def signed(account: KmsAccount, target: str, payload: bytes, at: datetime.datetime) -> dict[str, str]:
    """The headers of one call, signed with AWS Signature Version 4."""
    url = urlsplit(account.endpoint)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    headers = {"content-type": _JSON, "host": url.netloc, "x-amz-date": stamp, "x-amz-target": target}
    if account.session_token:
        headers["x-amz-security-token"] = account.session_token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(["POST", url.path or "/", url.query, listed, names, hashlib.sha256(payload).hexdigest()])
    scope = f"{stamp[:8]}/{account.region}/kms/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{account.secret_access_key}".encode()
    for part in (stamp[:8], account.region, "kms", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={account.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _context(key_id: str) -> dict[str, str]:
    return {"mooring": f"data key v1|{key_id}"}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
