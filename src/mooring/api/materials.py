"""The routes of keystores and certificates. Bodies are JSON, or a form with a file."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from mooring.api.errors import Json
from mooring.api.request import ask_of, body_of, header, object_in, plane_of, whole
from mooring.control.connections import Ask
from mooring.domain.records import Actor, Material
from mooring.errors import BadRequest, InvalidConfig, Problem
from mooring.kit.multipart import NotAForm, Part, read_form
from mooring.wire.envelope import dumps, listed

MAX_PAGE = 1000
ORDERS: dict[str, Callable[[Material], Any]] = {
    "name": lambda material: material.name_key,
    "createdAt": lambda material: material.created_at,
    "updatedAt": lambda material: material.updated_at,
}
_CERTIFICATE_FIELDS = ("certificateName", "alias", "certificateDescription", "environmentList", "pemEncodedFile")

# keystores


async def find_keystores(request: Request, actor: Actor) -> Response:
    found = await plane_of(request).keystores.list_all(actor, request.path_params["project"])
    return listed_page(request, found)


async def get_keystore(request: Request, actor: Actor) -> Response:
    path = request.path_params
    return one(*await plane_of(request).keystores.get(actor, path["project"], path["name"]))


async def create_keystore(request: Request, actor: Actor) -> Response:
    keystores, project = plane_of(request).keystores, request.path_params["project"]
    values, ask = await asked(request, _keystore_form, lambda: keystores.check_change(actor, project))
    return Json(await keystores.create(actor, project, values, ask))


async def import_keystore(request: Request, actor: Actor) -> Response:
    """As a form only; with `override` an existing keystore is replaced."""
    keystores, project = plane_of(request).keystores, request.path_params["project"]
    values, ask = await asked(request, _keystore_form, lambda: keystores.check_change(actor, project), takes_json=False)
    override = values.pop("override", "").strip().lower()
    if override not in ("", "true", "false"):
        raise InvalidConfig([Problem("/override", "invalid", "override is not valid: must be true or false")])
    name = values.get("name")
    if override == "true" and isinstance(name, str) and await keystores.exists(actor, project, name):
        return Json(await keystores.update(actor, project, name, values, ask))
    return Json(await keystores.create(actor, project, values, ask))


async def update_keystore(request: Request, actor: Actor) -> Response:
    keystores, path = plane_of(request).keystores, request.path_params
    values, ask = await asked(
        request, _keystore_form, lambda: keystores.check_change(actor, path["project"], path["name"])
    )
    return Json(await keystores.update(actor, path["project"], path["name"], values, ask))


async def delete_keystore(request: Request, actor: Actor) -> Response:
    keystores, path = plane_of(request).keystores, request.path_params
    ask = await without_body(request, b"", lambda: keystores.check_change(actor, path["project"], path["name"]))
    return Json(await keystores.delete(actor, path["project"], path["name"], ask))


# certificates


async def find_certificates(request: Request, actor: Actor) -> Response:
    found = await plane_of(request).certificates.list_all(actor, request.path_params["project"])
    return listed_page(request, found)


async def get_certificate(request: Request, actor: Actor) -> Response:
    path = request.path_params
    return one(*await plane_of(request).certificates.get(actor, path["project"], path["name"]))


async def expiring(request: Request, actor: Actor) -> Response:
    """Soonest first."""
    within = request.query_params.get("within", "30d")
    found = await plane_of(request).expiring.of_project(actor, request.path_params["project"], within)
    return Json(listed([dumps(each) for each in found]))


async def expiring_everywhere(request: Request, actor: Actor) -> Response:
    """Of all projects."""
    found = await plane_of(request).expiring.everywhere(actor, request.query_params.get("within", "30d"))
    return Json(listed([dumps(each) for each in found]))


async def create_certificate(request: Request, actor: Actor) -> Response:
    certificates, project = plane_of(request).certificates, request.path_params["project"]
    values, ask = await asked(request, _certificate_form, lambda: certificates.check_change(actor, project))
    return Json(await certificates.create(actor, project, values, ask))


async def update_certificate(request: Request, actor: Actor) -> Response:
    certificates, path = plane_of(request).certificates, request.path_params
    values, ask = await asked(
        request, _certificate_form, lambda: certificates.check_change(actor, path["project"], path["name"])
    )
    return Json(await certificates.update(actor, path["project"], path["name"], values, ask))


async def delete_certificate(request: Request, actor: Actor) -> Response:
    certificates, path = plane_of(request).certificates, request.path_params
    ask = await without_body(request, b"", lambda: certificates.check_change(actor, path["project"], path["name"]))
    return Json(await certificates.delete(actor, path["project"], path["name"], ask))


async def export_certificate(request: Request, actor: Actor) -> Response:
    path = request.path_params
    name, content = await plane_of(request).certificates.export(actor, path["project"], path["name"])
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(content, headers={"Content-Disposition": disposition}, media_type="application/octet-stream")


# requests


async def asked(
    request: Request,
    of_form: Callable[[dict[str, Part]], dict[str, Any]] | None,
    check: Callable[[], Awaitable[Any]],
    *,
    takes_json: bool = True,
) -> tuple[dict[str, Any], Ask]:
    """
    What the body says, whichever way it was sent, and what is asked beside it. Without *of_form* it is no form.

    Where one of them is wrong, *check* looks at project, permission and name first: the order of refusals.
    """
    try:
        content_type = header(request, b"content-type") or ""
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "multipart/form-data" and of_form is not None:
            raw = await body_of(request)
            values = of_form(read_form(content_type, raw))
            # The boundary is drawn anew for each attempt: what is compared is what the form says.
            return values, ask_of(request, dumps(values).encode())
        if kind != "application/json" or not takes_json:
            kinds = [*(["application/json"] if takes_json else []), *(["multipart/form-data"] if of_form else [])]
            raise BadRequest(f"Content-Type must be {' or '.join(kinds)}")
        raw = await body_of(request)
        return object_in(raw), ask_of(request, raw)
    except NotAForm as exc:
        await check()
        raise BadRequest(f"Request body is not a valid form: {exc}") from None
    except BadRequest:
        await check()
        raise


async def without_body(request: Request, raw: bytes, check: Callable[[], Awaitable[Any]]) -> Ask:
    try:
        return ask_of(request, raw)
    except BadRequest:
        await check()
        raise


def _keystore_form(form: dict[str, Part]) -> dict[str, Any]:
    """A form as the JSON body that it stands for: one file for all the environments that it names."""
    known = {
        "keystoreName", "name", "keystoreDescription", "description", "keystoreFile", "file", "password", "keyStoreType",
        "type", "alias", "environmentList", "environmentMapping", "override",
    }  # fmt: skip
    _check_fields(form, known)

    def text(*names: str) -> str | None:
        return next((form[name].text for name in names if name in form), None)

    file = next((form[name].content for name in ("keystoreFile", "file") if name in form), b"")
    entry = {
        "keyStoreType": text("keyStoreType", "type"), "password": text("password"), "alias": text("alias"),
        "file": base64.b64encode(file).decode() or None,
    }  # fmt: skip
    names = [name.strip() for name in (text("environmentList") or "").split(",") if name.strip()]
    values: dict[str, Any] = {
        "name": text("keystoreName", "name"), "description": text("keystoreDescription", "description"),
        "keyStoreEnvironmentList": [{"environmentName": name, **entry} for name in names],
    }  # fmt: skip
    if "override" in form:
        values["override"] = form["override"].text
    return values


def _certificate_form(form: dict[str, Part]) -> dict[str, Any]:
    _check_fields(form, set(_CERTIFICATE_FIELDS))
    return {name: form[name].text for name in _CERTIFICATE_FIELDS if name in form}


def _check_fields(form: dict[str, Part], known: set[str]) -> None:
    unknown = sorted(set(form) - known)
    if unknown:
        raise InvalidConfig(
            [
                Problem(f"/{name[:80]}", "unknown_field", f"{name[:80]} is not a known field")
                for name in (each if each.isprintable() else "a field" for each in unknown)
            ]
        )


# answers


def one(material: Material, shown: dict[str, Any]) -> Response:
    return Json(listed([dumps(shown)]), ((b"etag", b'"%d"' % material.generation),))


def listed_page(request: Request, found: list[tuple[Material, dict[str, Any]]]) -> Response:
    """All of them, or a page, as connections are listed."""
    query = request.query_params
    limit = whole(request, "limit", 100, 1, MAX_PAGE)
    page, size = whole(request, "page", 1, 1, 10**6), whole(request, "size", 100, 1, MAX_PAGE)
    order, _, direction = query.get("sort", "name,asc").partition(",")
    if order not in ORDERS or direction.lower() not in ("", "asc", "desc"):
        allowed = ", ".join(ORDERS)
        raise InvalidConfig(
            [Problem("/sort", "invalid", f"sort is not valid: must be one of {allowed}, then ,asc or ,desc")]
        )
    if "cursor" in query or "limit" in query:
        # In the project admin a name may stand more than once: its owner tells them apart.
        found = sorted(found, key=lambda each: _cursor(each[0]))
        rest = [each for each in found if _cursor(each[0]) > query.get("cursor", "")]
        body = listed([dumps(shown) for _, shown in rest[:limit]])
        following = dumps(_cursor(rest[limit - 1][0])) if len(rest) > limit else "null"
        return Json(f'{body[:-1]},"nextCursor":{following}}}')
    if "page" in query or "size" in query or "sort" in query:
        found = sorted(found, key=lambda each: ORDERS[order](each[0]), reverse=direction.lower() == "desc")
        found = found[(page - 1) * size : page * size]
    return Json(listed([dumps(shown) for _, shown in found]))


def _cursor(material: Material) -> str:
    return f"{material.name_key}/{material.project}"
