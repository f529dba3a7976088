"""What a browser sees: the start page, the API description, and the interactive reference, all served from here."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mooring import __version__
from mooring.api.errors import error_response
from mooring.api.request import plane_of
from mooring.api.routes import ROUTES as API_ROUTES
from mooring.errors import NotFound
from mooring.wire.openapi import describe

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #16212c; --paper: #fbfaf7; --line: #d9d5cb; --sea: #0b6477; --muted: #5b6670 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e1; --paper: #14191e; --line: #323a42; --sea: #6cc4d6; --muted: #98a2ab } }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { max-width: 46rem; margin: 0 auto; padding: 3.5rem 1.25rem }
h1 { font-size: 2.1rem; margin: 0 0 .25rem; letter-spacing: -.02em }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem }
p { margin: .4rem 0 }
.lead { color: var(--muted); font-size: 1.1rem }
a { color: var(--sea) }
table { width: 100%; border-collapse: collapse; font-size: .95rem }
th, td { text-align: left; padding: .45rem .6rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; color: var(--muted) }
i { font-style: normal; color: var(--muted) }
code, pre { font: .88rem/1.5 ui-monospace, monospace }
pre { padding: .9rem 1rem; border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; white-space: pre }
footer { margin-top: 3rem; color: var(--muted); font-size: .9rem }
"""


async def start(request: Request) -> Response:
    """The start page: what runs here, and where to go next. It needs no token, so it shows no names and no numbers."""
    plane = plane_of(request)
    why = await plane.why_not_ready()
    state = "ready" if why is None else f"not ready: {_escape(why)}"
    base = str(request.base_url).rstrip("/")
    rows = "".join(
        f"<tr><td>{_escape(card.title)}</td><td><code>{_escape(card.name)}</code></td>"
        f"<td>{_escape(', '.join(card.operations)) or '<i>kept, not usable yet</i>'}</td></tr>"
        for card in plane.registry
    )
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Mooring</title><link rel="stylesheet" href="/assets/mooring.css"><main>
<h1>Mooring</h1><p class="lead">Connections: described, protected, delivered, proven.</p>
<p>Version {__version__}, {state}.</p>
<h2>Begin</h2>
<p><a href="/docs">Interactive API reference</a> · <a href="/openapi.json">OpenAPI 3.1</a> · <a href="/readyz">Readiness</a></p>
<p>The administrator's token was printed at the first start and stands in <code>admin-token</code> in the data directory.</p>
<pre>curl {_escape(base)}/apiops/projects/MyProject/connections/ \\
  -H "Authorization: Bearer $MOORING_TOKEN"</pre>
<h2>Connection types</h2>
<table><tr><th>System</th><th>type</th><th>Operations through a worker</th></tr>{rows}</table>
<footer>What a connection is made of: <code>GET /apiops/connection-types/{{type}}/</code></footer></main></html>""",
        headers=_HEADERS,
    )


async def docs(request: Request) -> Response:
    """Swagger UI; its files come from an installed package and are served by us."""
    return HTMLResponse(
        """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Mooring API</title><link rel="stylesheet" href="/assets/swagger-ui.css"><body><div id="swagger-ui"></div>
<script src="/assets/swagger-ui-bundle.js"></script><script src="/assets/swagger-ui-standalone-preset.js"></script>
<script src="/assets/docs.js"></script></body></html>""",
        headers=_HEADERS,
    )


_DOCS_JS = """
window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, docExpansion: "list", persistAuthorization: false,
  validatorUrl: null, presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "mooring.css":
        return Response(_STYLE, media_type="text/css", headers=_HEADERS)
    if name == "docs.js":
        return Response(_DOCS_JS, media_type="text/javascript", headers=_HEADERS)
    if name not in _ASSETS:
        error = NotFound(f"GET {request.scope['path'][:200]} not found")
        error.code = "resource_not_found"
        return error_response(error)
    return Response(_asset(name), media_type=_ASSETS[name], headers={**_HEADERS, "Cache-Control": "max-age=86400"})


def _asset(name: str) -> bytes:
    return (files("swagger_ui") / "static" / name).read_bytes()


async def openapi(request: Request) -> Response:
    return JSONResponse(_description(plane_of(request).registry), headers=_HEADERS)


@cache
def _description(registry: Any) -> dict[str, Any]:
    return describe(registry, API_ROUTES, __version__)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


ROUTES = [
    Route("/", start, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/apiops/openapi.json", openapi, methods=["GET"]),
    Route("/assets/{name}", asset, methods=["GET"]),
]
