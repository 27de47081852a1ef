"""The web console at `/`: static files, and what the page must know before it asks for anything else.

The page is a program like any other that uses the API: it holds no data, so it is open, and the token stays with the
one who typed it. There is no build step: what is in `static/` is what the browser runs.
"""

from hashlib import blake2b
from importlib.resources import files
from pathlib import PurePath

import msgspec
from aiohttp import web

from forwarder.ops import access
from forwarder.ops.build import version

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _File(msgspec.Struct, frozen=True):
    content: bytes
    content_type: str
    etag: str


def _load() -> dict[str, _File]:
    """Every static file by the path that it is served at."""
    found = {}
    for entry in files("forwarder.console").joinpath("static").iterdir():
        content_type = _TYPES.get(PurePath(entry.name).suffix)
        if content_type is None:
            continue  # an editor's backup, say
        content = entry.read_bytes()
        path = "/" if entry.name == "index.html" else f"/console/{entry.name}"
        found[path] = _File(content, content_type, blake2b(content, digest_size=8).hexdigest())
    return found


_FILES = _load()

OPEN_PATHS = frozenset(_FILES)
"""The paths that need no token: the page has to be there to ask for one."""


def routes(rules: access.Access, event_source_prefix: str) -> list[web.RouteDef]:
    """The page with all it loads, and `/api/session`: what the one who asks may do here.

    `event_source_prefix` is what every event source name begins with, up to the last slash, for the preview of a name.
    """

    async def static(request: web.Request) -> web.Response:
        file = _FILES[request.path]
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY, "ETag": f'"{file.etag}"'}
        if any(each.value == file.etag for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=file.content, headers={**headers, "Content-Type": file.content_type})
        response.enable_compression()
        return response

    async def session(request: web.Request) -> web.Response:
        body = {"version": version(), "event_source_prefix": event_source_prefix, "why_read_only": _why(rules, request)}
        return web.json_response(body)

    return [*(web.get(path, static) for path in _FILES), web.get("/api/session", session)]


def _why(rules: access.Access, request: web.Request) -> str | None:
    """Why this client may only read, in the words in which a change would be refused; None if it may change things."""
    denial = rules.denial(access.described(request, method="POST"))
    return denial.message if denial else None
