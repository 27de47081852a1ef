"""The HTTP server: who may ask, what every answer carries, and the route tables that other files bring."""

import asyncio
from collections.abc import Iterable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from forwarder.errors import ConfigurationError, Problem
from forwarder.ops import access

log = structlog.get_logger()

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_GOODBYE_SECONDS = 2.0  # for answers still being written when the server stops


class Http:
    """One listening socket. `routes` are the tables of probes, status and API together; `rules` say who may ask."""

    def __init__(self, host: str, port: int, *, rules: access.Access, routes: Iterable[web.AbstractRouteDef]) -> None:
        self._host = host
        self._port = port
        self._app = web.Application(middlewares=[_errors_as_json, _guard(rules)])
        self._app.add_routes(routes)
        self._app.on_response_prepare.append(_add_headers)
        self.listening = asyncio.Event()
        """Set once the socket is open; `port` is then the real one."""

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._port

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=_GOODBYE_SECONDS)
        await runner.setup()
        try:
            await self._listen(runner)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            message = f"cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            hint = "stop the program that uses it, or set another FORWARDER_HTTP_HOST or FORWARDER_HTTP_PORT"
            raise ConfigurationError([Problem(message, key="FORWARDER_HTTP_PORT", hint=hint)]) from error
        self._port = runner.addresses[0][1]
        self.listening.set()
        log.info("http_listening", host=self._host, port=self._port)


def _guard(rules: access.Access) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        denial = rules.denial(
            access.Request(
                method=request.method,
                path=request.path,
                peer=peer[0] if peer else None,
                host=request.headers.get("Host", ""),
                authorization=request.headers.get("Authorization", ""),
            )
        )
        return await handler(request) if denial is None else _refusal(denial.status, denial.message)

    return guard


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise  # a redirect is an answer
        return _refusal(error.status, error.reason, allow=error.headers.get("Allow"))
    except TimeoutError:
        return _refusal(503, "The daemon is too busy to answer.")
    except Exception:
        log.exception("http_request_failed", method=request.method, path=request.path)
        return _refusal(500, "The request failed inside the daemon; its log says why.")


def _refusal(status: int, message: str, *, allow: str | None = None) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Allow": allow} if allow else {}
    return web.json_response({"message": message, "status": status}, status=status, headers=headers)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "forwarder"  # not which library in which version
