"""One line of a route table: a handler together with what the API's description says of it, so that neither can be
without the other."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Operation(msgspec.Struct, frozen=True):
    """A method on a path. `answer` is the type of its 200's body (a string: that media type), `query` and `body` are
    read by `reading`; `refusals` are the statuses it may answer with besides those that any request can meet."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    answer: Any
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    refusals: Sequence[int] = ()

    def route(self) -> web.RouteDef:
        """The line of aiohttp's table. A GET answers to HEAD as well."""
        if self.method == "GET":
            return web.get(self.path, self.handler)
        return web.route(self.method, self.path, self.handler)


def json(value: Any) -> web.Response:
    """An answer with this body."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
