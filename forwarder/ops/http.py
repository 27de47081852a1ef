"""The HTTP server: who may ask, what every answer carries, and the route tables that other files bring."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from forwarder.errors import ConfigurationError, Problem
from forwarder.ops import access
from forwarder.ops.refusals import Refused

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
_MAX_BODY_BYTES = 256 * 1024
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's is worth the log: anybody can send what is no HTTP, is told so, and must not be able
    to fill the disk with tracebacks."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_SERVER_LOG = logging.getLogger("forwarder.http")
_SERVER_LOG.addFilter(_is_ours)


class Caller(msgspec.Struct, frozen=True):
    """Who asks, for the audit log: by whose token, from which address."""

    kind: access.Kind
    peer: str | None


CALLER = web.RequestKey("caller", Caller)


class Http:
    """One listening socket. `routes` are the tables of probes, status and API together; `rules` say who may ask;
    `on_stop` is called when it is about to close, to end answers that go on for ever."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rules: access.Access,
        routes: Iterable[web.AbstractRouteDef],
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._port = port
        self._app = web.Application(middlewares=[_errors_as_json, _guard(rules)], client_max_size=_MAX_BODY_BYTES)
        self._app.add_routes(routes)
        self._app.on_response_prepare.append(_add_headers)
        self._app.on_shutdown.append(_stopping(on_stop))
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
        runner = web.AppRunner(
            self._app, access_log=None, logger=_SERVER_LOG, handle_signals=False, shutdown_timeout=_GOODBYE_SECONDS
        )
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


def _stopping(on_stop: Callable[[], None]) -> Callable[[web.Application], Awaitable[None]]:
    async def stopping(_app: web.Application) -> None:
        on_stop()

    return stopping


def _guard(rules: access.Access) -> Middleware:
    failures = access.FailureLimit()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        facts = access.described(request)
        if not rules.is_open(facts):
            _admit(facts, rules, failures)
        request[CALLER] = Caller(rules.kind(facts), facts.peer)
        if request.method in _WITH_BODY and request.content_type != "application/json":
            raise Refused(415, "The body must be application/json.")
        return await handler(request)

    return guard


def _admit(facts: access.Request, rules: access.Access, failures: access.FailureLimit) -> None:
    now = time.monotonic()
    if facts.authorization and (wait := failures.wait(facts.peer, now)) > 0:
        headers = {"Retry-After": str(math.ceil(wait))}
        raise Refused(429, "Too many wrong tokens came from this address.", headers=headers)
    denial = rules.denial(facts)
    if denial is None:
        return
    if denial.status == 401 and facts.authorization:
        failures.note(facts.peer, now)
        log.warning("http_wrong_token", peer=facts.peer, method=facts.method, path=facts.path)
    raise Refused(
        denial.status, denial.message, headers={"WWW-Authenticate": "Bearer"} if denial.status == 401 else None
    )


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise  # a redirect is an answer
        allow = error.headers.get("Allow")
        return Refused(error.status, error.reason, headers={"Allow": allow} if allow else None).response()
    except TimeoutError:
        return Refused(503, "The daemon is too busy to answer.").response()
    except Exception:
        failure = Refused(500, "The request failed inside the daemon; its log says why.")
        log.exception("http_request_failed", method=request.method, path=request.path, context_id=failure.context_id)
        return failure.response()


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "forwarder"  # not which library in which version
