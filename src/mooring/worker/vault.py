"""
Vault or OpenBao: secrets of the KV engine (version 2) over HTTP, with a token or an AppRole.

What was read is remembered for a while, within a bound; the token of a login is renewed before it runs out. A project's
references lead below its own prefix, and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from mooring.kit.log import log
from mooring.kit.tls import client_context
from mooring.plugin.http import TooLong, exchange

DEADLINE_S = 5.0
MAX_ANSWER = 1024 * 1024
MAX_KEPT = 1_000
ASKED_AT_ONCE = 16
MAX_SECRET = 64 * 1024
RENEW_AT = 2 / 3
NEW_LOGIN_AFTER_S = 10.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN = 120


class NotInVault(Exception):
    """A secret that could not be had, as a person needs to know it. `again`: it may be there later."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.message, self.again = message, again


@dataclass(frozen=True, repr=False)
class VaultSettings:
    """
    Where Vault is, and who this worker is there.

    Either `token` or `token_file`, which is read again when it is refused; or `role_id` with `secret_id_file`. `prefix`
    goes before the path of every reference; {project} in it is the project of the connection.
    """

    url: str
    token: str | None = None
    token_file: Path | None = None
    role_id: str | None = None
    secret_id_file: Path | None = None
    approle_mount: str = "approle"
    namespace: str | None = None
    mount: str = "secret"
    prefix: str = "{project}/"
    ca_file: str | None = None
    remember_s: float = 60.0


class _Refused(Exception):
    """Vault answered 403."""


@dataclass
class _Login:
    """A token; where it was lent, since when and for how long."""

    token: str
    since: float
    lease_s: float = 0.0
    renewable: bool = False

    @property
    def is_due(self) -> bool:
        return self.lease_s > 0 and time.monotonic() - self.since > self.lease_s * RENEW_AT

    @property
    def has_ended(self) -> bool:
        return self.lease_s > 0 and time.monotonic() - self.since >= self.lease_s


class Vault:
    """One Vault, as this worker may use it."""

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._http: httpx2.AsyncClient | None = None
        self._login: _Login | None = None
        self._lock = asyncio.Lock()
        self._at_once = asyncio.Semaphore(ASKED_AT_ONCE)
        self._kept: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Mapping[str, Any]]] = {}

    async def read(self, project: str, place: str, *, fresh: bool = False) -> str:
        """The secret that `${vault:place}` means for *project*; *fresh*: not as remembered. Raises `NotInVault`."""
        path, _, key = place.partition("#")
        shown = f"the secret {path[:_SHOWN]}"
        segments = path.split("/")
        if not key or _CONTROL.search(place) or any(part in ("", ".", "..") for part in segments):
            raise NotInVault(
                "a reference to Vault must look like ${vault:path/to/secret#key}, its path with no empty part",
                again=False,
            )
        prefix = self._settings.prefix.replace("{project}", quote(project, safe=""))
        full = prefix + "/".join(quote(part, safe="") for part in segments)
        values = await self._values(full, shown, fresh)
        value = values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise NotInVault(f"{shown} in Vault has no text under the key {key[:_SHOWN]}")
        if len(value) > MAX_SECRET:
            raise NotInVault(f"{shown} in Vault is larger than {MAX_SECRET // 1024} KiB under the key {key[:_SHOWN]}")
        return value

    async def close(self) -> None:
        """Close its sockets. Safe twice."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _values(self, path: str, shown: str, fresh: bool) -> Mapping[str, Any]:
        kept = self._kept.get(path)
        if kept is not None and not fresh and time.monotonic() - kept[0] < self._settings.remember_s:
            self._kept.move_to_end(path)
            return kept[1]
        # A thousand connections that name the same secret ask once.
        asking = self._asking.get(path)
        if asking is None:
            asking = self._asking[path] = asyncio.create_task(self._asked(path, shown))
            asking.add_done_callback(lambda done: self._asked_for(path, done))
        return await asyncio.shield(asking)

    def _asked_for(self, path: str, done: asyncio.Task[Mapping[str, Any]]) -> None:
        self._asking.pop(path, None)
        if not done.cancelled():
            done.exception()  # whoever asked may have gone away

    async def _asked(self, path: str, shown: str) -> Mapping[str, Any]:
        place = f"/v1/{quote(self._settings.mount.strip('/'), safe='/')}/data/{path}"
        try:
            async with self._at_once, asyncio.timeout(DEADLINE_S):
                status, answer = await self._as_somebody("GET", place)
        except TimeoutError:
            raise NotInVault(f"Vault did not answer within {DEADLINE_S:g} s") from None
        except _Refused:
            raise NotInVault(f"Vault does not let this worker read {shown}; its policy must allow it") from None
        if status == 404:
            raise NotInVault(f"{shown} is not in Vault; write it there, with the key that is named")
        if status != 200:
            raise NotInVault(f"Vault answered {status}" + ("; it is sealed or standing by" if status == 503 else ""))
        values = ((answer.get("data") or {}).get("data")) if isinstance(answer.get("data"), dict) else None
        if not isinstance(values, dict):
            raise NotInVault("Vault did not answer as the KV engine of version 2 does; check MOORING_VAULT_MOUNT")
        self._kept[path] = (time.monotonic(), values)
        self._kept.move_to_end(path)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return values

    # who this worker is

    async def _as_somebody(self, method: str, place: str) -> tuple[int, dict[str, Any]]:
        """Ask with a token that is good; one that is refused is replaced once. Raises `_Refused`."""
        login = await self._logged_in()
        status, answer = await self._send(method, place, login.token)
        if status != 403:
            return status, answer
        if time.monotonic() - login.since < NEW_LOGIN_AFTER_S:
            raise _Refused  # it is new: what it may not read now, another will not either
        if self._login is login:
            self._login = None
        again = await self._logged_in()
        if again.token != login.token:
            status, answer = await self._send(method, place, again.token)
        if status == 403:
            raise _Refused
        return status, answer

    async def _logged_in(self) -> _Login:
        async with self._lock:
            if self._login is not None and self._login.is_due:
                self._login = await self._renewed(self._login)
            if self._login is None:
                self._login = await self._new_login()
            return self._login

    async def _renewed(self, login: _Login) -> _Login | None:
        """The same token for longer; None where a new one is needed."""
        if not login.renewable or login.has_ended:
            return None
        status, answer = await self._send("POST", "/v1/auth/token/renew-self", login.token, {})
        if status != 200:
            return None
        renewed = _login_of(answer)
        # Near the end of its life a token is renewed for less and less.
        return renewed if renewed is not None and renewed.lease_s > login.lease_s / 2 else None

    async def _new_login(self) -> _Login:
        settings = self._settings
        if settings.role_id is not None:
            if settings.secret_id_file is None:
                raise NotInVault("MOORING_VAULT_ROLE_ID needs MOORING_VAULT_SECRET_ID_FILE", again=False)
            body = {"role_id": settings.role_id, "secret_id": await _line(settings.secret_id_file, "secret id")}
            place = f"/v1/auth/{quote(settings.approle_mount.strip('/'), safe='/')}/login"
            status, answer = await self._send("POST", place, None, body)
            login = _login_of(answer) if status == 200 else None
            if login is None:
                raise NotInVault(f"Vault answered {status} to this worker's login; check role id and secret id")
            log.info("vault_login", lease_s=login.lease_s)
            return login
        if settings.token_file is not None:
            return _Login(await _line(settings.token_file, "token"), time.monotonic())
        if settings.token is None:
            raise NotInVault("this worker has no token for Vault, and no role id", again=False)
        return _Login(settings.token, time.monotonic())

    async def _send(
        self, method: str, place: str, token: str | None, body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer. Raises `NotInVault` where there is none."""
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        http = self._client()
        try:
            request = http.build_request(method, self._url + place, headers=headers, json=body)
            response, raw = await exchange(http, request, MAX_ANSWER)
        except TooLong:
            raise NotInVault("Vault answered more than 1 MiB") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as exc:
            raise NotInVault(f"Vault cannot be reached ({type(exc).__name__}); check MOORING_VAULT_URL") from None
        if 300 <= response.status_code < 400:
            raise NotInVault("Vault sent this worker elsewhere; MOORING_VAULT_URL must name the one that answers")
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {}
        return response.status_code, answer if isinstance(answer, dict) else {}

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            # The operator's own address: what connections may reach is asked elsewhere.
            self._http = httpx2.AsyncClient(
                verify=client_context(ca_file=self._settings.ca_file, purpose="vault"),
                timeout=DEADLINE_S,
                trust_env=False,
                follow_redirects=False,
                headers={"User-Agent": "mooring", "Accept-Encoding": "identity"},
            )
        return self._http


def _login_of(answer: Mapping[str, Any]) -> _Login | None:
    auth = answer.get("auth")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    lease = auth.get("lease_duration")
    return _Login(
        token, time.monotonic(), float(lease) if isinstance(lease, int) else 0.0, auth.get("renewable") is True
    )


async def _line(file: Path, what: str) -> str:
    try:
        text = (await asyncio.to_thread(file.read_text, "utf-8")).strip()
    except (OSError, UnicodeDecodeError):
        raise NotInVault(f"the file with this worker's {what} for Vault cannot be read") from None
    if not text or not text.isascii() or not text.isprintable():
        raise NotInVault(f"the file with this worker's {what} for Vault is not one line of text")
    return text
