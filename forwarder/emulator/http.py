"""The emulator as an HTTP server: AWS's API on `/`, its own on `/_emulator/`."""

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import msgspec
from aiohttp import web

from forwarder.emulator import wire
from forwarder.emulator.admin import Admin
from forwarder.emulator.faults import NO_FAULT, Ending, Fate, Faults, Operation
from forwarder.emulator.quota import Quotas
from forwarder.emulator.signature import HttpRequest, Verifier, default_credentials, event_bridge_regions
from forwarder.emulator.state import State

_CONTENT_TYPE = "application/x-amz-json-1.1"
_TARGET_PREFIX = "AWSEvents"
_SHUTDOWN_SECONDS = 0.5
_HANG_POLL_SECONDS = 0.1

_REQUESTS: dict[str, type[wire.Request]] = {
    Operation.CREATE: wire.SourceAccountRequest,
    Operation.DELETE: wire.SourceAccountRequest,
    Operation.DESCRIBE: wire.DescribeRequest,
    Operation.LIST: wire.ListSourcesRequest,
    Operation.LIST_ACCOUNTS: wire.ListAccountsRequest,
    Operation.PUT: wire.PutRequest,
}
_DECODERS = {name: msgspec.json.Decoder(request) for name, request in _REQUESTS.items()}
_encode = msgspec.json.Encoder().encode


class Emulator:
    """The partner's side of EventBridge, for every region at once, on one port; `async with` starts and stops it.

    `credentials` maps access keys to secrets (default: `test`/`test` and the environment's static keys).
    `auto_associate` makes a created source ACTIVE at once, as if its customer had been waiting. `put_calls_per_second`,
    `put_burst` and `other_calls_per_second` are the quotas of each region, None for no limit. `max_sources` bounds the
    sources of a region; `max_events` and `max_event_bytes` the delivered events that are kept to be read back. `clock`
    gives epoch seconds.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        auto_associate: bool = False,
        credentials: Mapping[str, str] | None = None,
        put_calls_per_second: float | None = 1400.0,
        put_burst: float = 3600,
        other_calls_per_second: float | None = 50.0,
        max_sources: int = 1000,
        max_events: int = 100_000,
        max_event_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.host = host
        self.port = port
        self.state = State(
            auto_associate=auto_associate, max_sources=max_sources, max_events=max_events, max_bytes=max_event_bytes
        )
        self.faults = Faults()
        self._clock = clock
        self._quotas = Quotas(put_rate=put_calls_per_second, put_burst=put_burst, other_rate=other_calls_per_second)
        secrets = default_credentials(os.environ) if credentials is None else credentials
        self._verifier = Verifier(secrets, event_bridge_regions())
        self._admin = Admin(self.state, self.faults, clock)
        self._runner: web.ServerRunner | None = None
        self._operations: dict[str, Callable[[str, Any, float], msgspec.Struct]] = {
            Operation.CREATE: self.state.create_source,
            Operation.DELETE: self.state.delete_source,
            Operation.DESCRIBE: self.state.describe_source,
            Operation.LIST: self.state.list_sources,
            Operation.LIST_ACCOUNTS: self.state.list_accounts,
            Operation.PUT: self._put_events,
        }

    @property
    def url(self) -> str:
        """The endpoint URL, for `AWS_ENDPOINT_URL_EVENTBRIDGE`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. `port` 0 becomes the port that was free.

        Raises:
            OSError: the address cannot be listened on.
        """
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection; a hanging call is not waited for. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(wire.ApiError("RequestEntityTooLarge", "The request is over 1 MiB.", 413))
        if target.startswith("/_emulator/"):
            return self._admin.handle(request.method, target, body)
        try:
            operation = _operation(request.method, target, request.headers)
            signed = HttpRequest(request.method, target, request.headers, body)
            region = self._verifier.verify(signed, self._clock())
        except wire.ApiError as error:
            self.state.refused[error.code] += 1
            return _refusal(error)
        return await self._call(request, operation, region, body)

    async def _call(self, request: web.BaseRequest, operation: str, region: str, body: bytes) -> web.Response:
        """Make one authentic call and book its outcome."""
        try:
            self._quotas.take(region, operation, time.monotonic())
            call = _decode(operation, body)
            fate = self.faults.fate(operation, region, call.source_names()) if self.faults.rules else NO_FAULT
            if fate.delay:
                await asyncio.sleep(fate.delay)
            answer = self._perform(operation, region, call, fate)
        except wire.ApiError as error:
            self.state.count_call(region, operation, error.code)
            return _refusal(error)
        self.state.count_call(region, operation, fate.ending or "ok")
        if fate.ending is Ending.HANG:
            await _client_gone(request)
        return _reset(request) if fate.ending else _answer(answer, 200)

    def _perform(self, operation: str, region: str, call: wire.Request, fate: Fate) -> bytes:
        if fate.error:
            raise fate.error
        if fate.ending in (Ending.HANG, Ending.RESET_BEFORE):
            return b""
        wire.validate(call)
        return _encode(self._operations[operation](region, call, self._clock()))

    def _put_events(self, region: str, request: wire.PutRequest, now: float) -> wire.PutAnswer:
        injected = self.faults.entry_fault if self.faults.rules else None
        return self.state.put_events(region, request, now, injected)


async def serve(emulator: Emulator) -> None:
    """Run the emulator until cancelled.

    Raises:
        OSError: the address cannot be listened on.
    """
    async with emulator:
        await asyncio.Event().wait()


def _operation(method: str, target: str, headers: Mapping[str, str]) -> str:
    prefix, _, name = headers.get("X-Amz-Target", "").partition(".")
    if method != "POST" or target.partition("?")[0] != "/" or prefix != _TARGET_PREFIX or name not in _REQUESTS:
        raise wire.ApiError("UnknownOperationException", "The emulator has the partner operations of EventBridge only.")
    return name


def _decode(operation: str, body: bytes) -> wire.Request:
    try:
        return _DECODERS[operation].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wire.ApiError("SerializationException", str(error)) from None


def _answer(body: bytes, status: int) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid4()), "Content-Type": _CONTENT_TYPE}
    return web.Response(body=body, status=status, headers=headers)


def _refusal(error: wire.ApiError) -> web.Response:
    return _answer(error.body(), error.status)


async def _client_gone(request: web.BaseRequest) -> None:
    while request.transport is not None:  # noqa: ASYNC110  (aiohttp has no signal for a client that has gone)
        await asyncio.sleep(_HANG_POLL_SECONDS)


def _reset(request: web.BaseRequest) -> web.Response:
    """Break the connection in place of an answer."""
    if request.transport is not None:
        # A linger time of zero makes the kernel send RST and not FIN, as a broken peer or middlebox does.
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()  # never sent: the connection is closed
