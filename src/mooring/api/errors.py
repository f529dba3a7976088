"""One table from our errors to their status codes, and the one place that makes an error response."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mooring import errors
from mooring.kit.log import log
from mooring.wire.envelope import dumps, error_body

JSON = "application/json;charset=UTF-8"
_JSON_BYTES = JSON.encode()


class Json(Response):
    """A reply that is JSON text already."""

    def __init__(self, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        # Starlette's own constructor works out what is always the same here.
        self.status_code, self.background = 200, None
        self.body = text.encode()
        self.raw_headers = [
            (b"content-length", str(len(self.body)).encode()), (b"content-type", _JSON_BYTES), *headers
        ]  # fmt: skip


STATUS: dict[type[errors.MooringError], int] = {
    errors.TooLarge: 413,
    errors.MethodNotAllowed: 405,
    errors.BadRequest: 400,
    errors.NotAuthenticated: 401,
    errors.NotPermitted: 403,
    errors.NotFound: 404,
    errors.PreconditionFailed: 412,
    errors.Conflict: 409,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}


def status_of(error: errors.MooringError) -> int:
    """The status code of *error*: that of the nearest class in the table."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def error_response(error: errors.MooringError) -> Response:
    """*error* in the documented shape."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == 503:
        headers["Retry-After"] = "5"
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error_body(error)
    if error.hint and status in (403, 409, 503):
        body["error_description"] = f"{error.message}. {error.hint}"
    return Response(dumps(body), status, headers, JSON)


def unexpected(request: Request, exc: Exception) -> Response:
    """Something that nobody foresaw: logged with its kind, answered without any detail."""
    log.error(
        "unexpected_error", request_id=request.scope.get("mooring.request_id"), path=request.scope.get("path"),
        error=type(exc).__name__, where=_where(exc),
    )  # fmt: skip
    return error_response(errors.MooringError("An unexpected error occurred"))


def _where(exc: BaseException) -> list[str]:
    """File names and lines, without values: a traceback's text may quote what was sent."""
    found = []
    traceback = exc.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return found[-12:]
