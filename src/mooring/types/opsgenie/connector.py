"""Raising and closing alerts over Opsgenie's Alert API."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.fields import NO_CONTROL
from mooring.plugin.http import TooLong, client, exchange, http_error, tls_context
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.opsgenie.model import MAX_DETAILS, OpsGenieConfig, OpsGenieRecipient

MAX_MESSAGE = 130
MAX_DESCRIPTION = 15_000
MAX_TAGS = 20
MAX_ANSWER = 256 * 1024
MAX_REASON = 300
CONNECTIONS = 20
IDLE_CONNECTION_S = 30.0
PEER = "Opsgenie's alert API"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SECONDS = re.compile(r"[0-9]{1,6}")


def _no_dots(identifier: str) -> str:
    # It becomes a part of a path, and a lone . or .. would walk it.
    if identifier in (".", ".."):
        raise PydanticCustomError("dots", "must not be . or ..")
    return identifier


Tag = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=50)]
Upto100 = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=100)]
Alias = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=512), AfterValidator(_no_dots)]
Note = Annotated[str, StringConstraints(max_length=25_000)]


class Alert(Request):
    """What to raise. What is not said here is as the connection says it."""

    message: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE)] = Field(
        description="What has happened, in 130 characters.", examples=["The order database does not answer"]
    )
    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION)] | None = Field(
        None, description="More about it."
    )
    priority: Literal["P1", "P2", "P3", "P4", "P5"] | None = Field(
        None, description="Priority, P1 being the highest.", examples=["P1"]
    )
    alias: Alias | None = Field(None, description="Alerts with the same alias count as one, while it is open.")
    tags: Annotated[list[Tag], Field(max_length=MAX_TAGS)] = Field(
        [], description="Labels, beside those of the connection.", examples=[["database"]]
    )
    details: dict[str, str] = Field(
        {}, description="Further properties, beside those of the connection.", examples=[{"order": "4711"}]
    )
    entity: Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=512)] | None = Field(
        None, description="What the alert is about."
    )
    note: Note | None = Field(None, description="A note that is added to the new alert.")
    user: Upto100 | None = Field(None, description="Who the alert says asked for it.")


class Closing(Request):
    """Which alert to close."""

    identifier: Alias | None = Field(
        None, description="The alert, by what `identifierType` says; the connection's `alias` by default."
    )
    identifier_type: Literal["alias", "id", "tiny"] = Field(
        "alias", description="Whether `identifier` is an alias, an id, or the short number that people see."
    )
    note: Note | None = Field(None, description="A note that is added to the alert.")
    user: Upto100 | None = Field(None, description="Who closed it.")


class Accepted(Answer):
    """Opsgenie took the request, and carries it out soon after."""

    request_id: str = Field(description="Opsgenie's id of the request; its status can be asked for by it.")
    result: str = Field(description="What Opsgenie said.")
    alias: str | None = Field(description="The alias that the request was for, if one was given.")
    took_ms: float = Field(description="Milliseconds from the call to the answer.")


class OpsGenieConnector(Connector[OpsGenieConfig]):
    """Speaks to one address of the API. The pool begins with the first call and ends when it is idle."""

    def __init__(self, config: OpsGenieConfig, context: Context) -> None:
        super().__init__(config, context)
        parts = urlsplit(config.api_url)
        self._is_encrypted = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_encrypted else 80)
        self._path = parts.path.rstrip("/")
        self._tls: ssl.SSLContext | None = None
        self._http: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        if self._is_encrypted:
            self._tls = tls_context(
                self.context,
                trust_store=self.config.trust_store_name,
                key_store=self.config.key_store_name,
                verify_hostname=self.config.verify_hostname,
            )

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def start(self) -> None:
        self._http = self._client()

    async def stop(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def native(self) -> httpx2.AsyncClient:
        return self._started()

    @operation
    async def send(self, request: Alert) -> Accepted:
        """Raise an alert; the answer is that Opsgenie took it, and not yet that it exists."""
        body = self._alert(request)
        return await self._ask("", body, "the alert", body.get("alias"))

    @operation
    async def close_(self, request: Closing) -> Accepted:
        """Close an alert; the answer is that Opsgenie took the request."""
        identifier = request.identifier or self.config.alias
        if not identifier:
            raise Misconfigured(
                "no alert is named", hint="Name one in the request (identifier), or in the connection (alias)."
            )
        if identifier in (".", ".."):
            raise Misconfigured("the alias of the connection cannot stand in an address", hint="Choose another alias.")
        path = f"/{quote(identifier, safe='')}/close?identifierType={request.identifier_type}"
        body = _said(
            source=self.config.source or None, user=request.user or self.config.user or None, note=request.note
        )
        alias = identifier if request.identifier_type == "alias" else None
        return await self._ask(path, body, "closing the alert", alias)

    async def probe(self, probe: Probe) -> None:
        async with probe.step("resolve"):
            await self.context.network.resolve(self._host, self._port)
        async with probe.step("connect"), asyncio.timeout(self._timeout_s):
            await self.context.network.dial(self._host, self._port)
        if self._tls is None:
            probe.skip("tls", "the address is not https")
        else:
            async with probe.step("tls"), asyncio.timeout(self._timeout_s):
                await self.context.network.handshake(self._host, self._port, self._tls)
        http = self._client()
        try:
            async with probe.step("key"):
                response, said = await self._exchange(http, "GET", "?limit=1", None)
                if response.status_code == 403:
                    probe.unknown(
                        "the key is known, and may not read alerts; whether it may raise one, only that shows"
                    )
                elif response.status_code != 200:
                    raise self._refusal(response, said, "a look at the alerts")
                elif not isinstance(said, dict):
                    raise self._strange(200)
        finally:
            await http.aclose()

    def translate(self, error: BaseException) -> ConnectorError | None:
        match error:
            case httpx2.TransportError():
                return http_error(
                    error,
                    self._address,
                    slow="Allow more time (timeout), or see whether Opsgenie has trouble.",
                    busy=f"Send less at a time: there are {CONNECTIONS} connections.",
                    peer=PEER,
                )
            case OSError():
                return network_error(error, self._address)
        return None

    @property
    def _address(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def _timeout_s(self) -> float:
        return int(self.config.timeout) / 1000

    def _client(self) -> httpx2.AsyncClient:
        host = f"[{self._host}]" if ":" in self._host else self._host
        http = client(
            self.context.network,
            self._tls,
            connections=CONNECTIONS,
            timeout=self._timeout_s,
            idle_s=IDLE_CONNECTION_S,
            headers={
                "Authorization": f"GenieKey {self.config.api_key.get_secret_value()}",
                "Accept": "application/json",
            },
        )
        http.base_url = httpx2.URL(f"{'https' if self._is_encrypted else 'http'}://{host}:{self._port}")
        return http

    def _started(self) -> httpx2.AsyncClient:
        if self._http is None:
            raise Unreachable("the connection was closed", hint="Retry: its successor serves already, if it has one.")
        return self._http

    def _alert(self, request: Alert) -> dict[str, Any]:
        config = self.config
        tags = list(dict.fromkeys([*map(str, config.tags), *request.tags]))
        details = {**config.details, **request.details}
        if len(tags) > MAX_TAGS:
            raise Misconfigured(
                f"with those of the connection there are {len(tags)} tags, and Opsgenie takes {MAX_TAGS}",
                hint="Send fewer tags.",
            )
        if sum(len(name) + len(value) for name, value in details.items()) > MAX_DETAILS:
            raise Misconfigured(
                f"with those of the connection the details have more than {MAX_DETAILS} characters",
                hint="Send fewer or shorter details.",
            )
        return _said(
            message=request.message,
            description=request.description or None,
            alias=request.alias or config.alias or None,
            responders=[_recipient(each) for each in config.responders] or None,
            visibleTo=[_recipient(each) for each in config.visible_to] or None,
            actions=list(config.actions) or None,
            tags=tags or None,
            details=details or None,
            entity=request.entity or config.entity or None,
            source=config.source or None,
            priority=request.priority or config.priority,
            user=request.user or config.user or None,
            note=request.note or config.note or None,
        )

    async def _ask(self, path: str, body: dict[str, Any], what: str, alias: str | None) -> Accepted:
        began = time.monotonic()
        try:
            content = json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as exc:
            raise Misconfigured("the text holds half a character", hint="Send text that is whole Unicode.") from exc
        response, said = await self._exchange(self._started(), "POST", path, content)
        if response.status_code not in range(200, 300):
            raise self._refusal(response, said, what)
        number = said.get("requestId") if isinstance(said, dict) else None
        if not isinstance(number, str):
            raise self._strange(response.status_code)
        return Accepted(
            request_id=_short(number),
            result=_short(str(said.get("result") or "")),
            alias=alias,
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    async def _exchange(
        self, http: httpx2.AsyncClient, method: str, path: str, content: bytes | None
    ) -> tuple[httpx2.Response, Any]:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        target = f"{self._path or ('' if path.startswith('/') else '/')}{path}"
        request = http.build_request(
            method, http.base_url.copy_with(raw_path=target.encode("ascii")), headers=headers, content=content
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                response, raw = await exchange(http, request, MAX_ANSWER)
        except TimeoutError:
            raise httpx2.ReadTimeout("timeout", request=request) from None
        except TooLong as exc:
            raise self._strange(200) from exc
        return response, _parsed(raw)

    def _refusal(self, response: httpx2.Response, said: Any, what: str) -> ConnectorError:
        """What it means that the API answered *what* with that status."""
        status, why = response.status_code, _reason(said)
        because = f": {why}" if why else ""
        match status:
            case 401:
                return Rejected(
                    f"{self._address} does not know the key{because}",
                    hint="Check apiKey, and whether the account is in Europe: its address is api.eu.opsgenie.com.",
                )
            case 403:
                return Rejected(
                    f"{self._address} does not allow the key {what}{because}",
                    hint="Give the integration of that key the right to create and update, and see whether it is on.",
                )
            case 422 if "key" in why.lower():
                return Rejected(f"{self._address} does not take the key{because}", hint="Check apiKey.")
            case 429:
                after = response.headers.get("retry-after", "")
                wait = f"Retry after {after} s." if _SECONDS.fullmatch(after) else "Retry in a minute."
                return Unreachable(f"{self._address} takes no more requests now{because}", hint=wait)
            case _ if status >= 500:
                return Unreachable(
                    f"{self._address} answered {what} with {status}{because}",
                    hint="Retry; Opsgenie's status page says whether it has trouble.",
                )
            case _ if status in range(300, 400):
                return Misconfigured(
                    f"{self._address} sends elsewhere ({status}), and redirects are not followed",
                    hint="Put the address of the API itself into apiUrl.",
                )
            case _ if status >= 400 and isinstance(said, dict) and (why or status == 422):
                return Misconfigured(
                    f"{self._address} refused {what} ({status}){because}", hint="Correct what it names."
                )
        return self._strange(status)

    def _strange(self, status: int) -> ConnectorError:
        return Misconfigured(
            f"{self._address} answered with {status} and not as {PEER} does",
            hint="Check apiUrl: it ends with /v2/alerts.",
        )


def _recipient(recipient: OpsGenieRecipient) -> dict[str, str]:
    """Somebody, told by the id if there is one."""
    kind = str(recipient.type)
    if recipient.id:
        return {"type": kind, "id": recipient.id}
    if recipient.username:
        return {"type": kind, "username": recipient.username}
    return {"type": kind, "name": recipient.name or ""}


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _reason(said: Any) -> str:
    """Why, in the API's own words: its message, and what it says about single fields."""
    if not isinstance(said, dict):
        return ""
    parts = [said.get("message")]
    errors = said.get("errors")
    if isinstance(errors, dict):
        parts += [f"{name}: {text}" for name, text in list(errors.items())[:5]]
    return _short(" ".join(part for part in parts if isinstance(part, str)))


def _short(text: str) -> str:
    text = _CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."
