"""The EventBridge sink on real sockets: what it sends, and what it makes of everything a network can do to it."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials

from forwarder.errors import ConfigurationError, PutError
from forwarder.model import Delivery, Destination, EntryResult, Notification, Reason, Verdict
from forwarder.sinks.base import SinkContext
from forwarder.sinks.eventbridge import PLUGIN, EventBridgeSettings, EventBridgeSink, create

KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "a secret key", "a session token")
DESTINATION = Destination("123456789012", "eu-west-1", "aws.partner/genesys.com/cloud/organization/crm-prod")
CLOSE = b"<close>"
RESET = b"<reset>"


class Aws:
    """The AwsAccess of a test: one endpoint for all regions, fixed keys."""

    def __init__(self, url: str, bundle: str | bool | None = None) -> None:
        self.url = url
        self.bundle = bundle

    async def endpoint(self, region: str) -> str:
        return self.url

    async def credentials(self) -> ReadOnlyCredentials:
        return KEYS

    def ca_bundle(self) -> str | bool | None:
        return self.bundle


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str, message: str = "said so") -> bytes:
    return answer(status, json.dumps({"__type": code, "message": message}).encode())


ACCEPTED = answer(200, b'{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}')


class Wire:
    """An HTTP server by hand: it keeps every request and answers with the next of `script`, whose last one stays.

    An answer is sent as it is; `CLOSE` at its end closes the connection after it, `RESET` resets it, None hangs.
    """

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script or [ACCEPTED])
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.release = asyncio.Event()
        self.held = asyncio.Semaphore(0)
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        self.requests.append((head, await reader.readexactly(sum(lengths))))
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if reply is None:
            self.held.release()
            await self.release.wait()
            reply = ACCEPTED
        if reply.endswith(RESET):
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        writer.write(reply.removesuffix(CLOSE))
        await writer.drain()
        return not reply.endswith(CLOSE)


Make = Callable[..., EventBridgeSink]
Serve = Callable[..., Awaitable[Wire]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes sinks, and closes them."""
    async with AsyncExitStack() as closing:

        def sink(aws: Aws | str, max_concurrency: int = 8, **settings: float) -> EventBridgeSink:
            context = SinkContext(Aws(aws) if isinstance(aws, str) else aws, max_concurrency, 262_144)
            made = create(EventBridgeSettings.model_validate(settings), context)
            closing.push_async_callback(made.close)
            return made

        yield sink


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers, and stops them."""
    async with AsyncExitStack() as closing:

        async def start(*script: bytes | None, tls: ssl.SSLContext | None = None) -> Wire:
            wire = Wire(*script)
            server = await asyncio.start_server(wire, "127.0.0.1", 0, ssl=tls)
            closing.callback(server.close)
            closing.callback(wire.release.set)
            host, port = server.sockets[0].getsockname()
            wire.url = f"{'https' if tls else 'http'}://{host}:{port}"
            return wire

        yield start


def deliveries(count: int = 1) -> list[Delivery]:
    return [
        Delivery(
            n,
            Notification(f"id{n}", "v2.users.1.presence", b'{"n":%d, "x":1.0}' % n, 1_774_055_395, 1.0),
            "crm",
            "v2.users.{id}.presence",
        )
        for n in range(count)
    ]


async def failure(sink: EventBridgeSink) -> PutError:
    with pytest.raises(PutError) as caught:
        await sink.put(DESTINATION, deliveries())
    return caught.value


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def test_the_request_is_one_that_botocore_would_have_signed(make: Make, serve: Serve) -> None:
    wire = await serve()
    await make(wire.url).put(DESTINATION, deliveries())
    [(head, body)] = wire.requests
    sent = headers_of(head)
    request = AWSRequest("POST", wire.url, data=body)
    for name in ("Content-Type", "X-Amz-Target"):
        request.headers[name] = sent[name.lower()]
    moment = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(Credentials(*KEYS), "events", "eu-west-1").add_auth(request)
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert sent["authorization"] == request.headers["Authorization"]
    assert sent["x-amz-security-token"] == "a session token"
    assert sent["x-amz-target"] == "AWSEvents.PutPartnerEvents"
    assert sent["user-agent"].startswith("forwarder ")


async def test_the_body_is_the_entries(make: Make, serve: Serve) -> None:
    wire = await serve(answer(200, json.dumps({"FailedEntryCount": 0, "Entries": [{"EventId": "a"}] * 2}).encode()))
    results = await make(wire.url).put(DESTINATION, deliveries(2))
    assert results == (EntryResult(Verdict.ACCEPTED, "a"),) * 2
    assert json.loads(wire.requests[0][1]) == {
        "Entries": [
            {
                "Time": 1_774_055_395,
                "Source": DESTINATION.event_source_name,
                "Resources": [],
                "DetailType": "v2.users.{id}.presence",
                "Detail": f'{{"n":{n}, "x":1.0}}',
            }
            for n in range(2)
        ]
    }


async def test_an_endpoint_with_a_path_is_called_there(make: Make, serve: Serve) -> None:
    wire = await serve()
    await make(f"{wire.url}/%61%2fb//c").put(DESTINATION, deliveries())
    assert wire.requests[0][0].startswith(b"POST /%61%2fb//c HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("reply", "reason", "code"),
    [
        (error(400, "ThrottlingException"), Reason.THROTTLED, "ThrottlingException"),
        (answer(429), Reason.THROTTLED, "HTTP429"),
        (error(500, "InternalException"), Reason.SERVER_ERROR, "InternalException"),
        (answer(503, b"<html>"), Reason.SERVER_ERROR, "HTTP503"),
        (error(400, "ExpiredTokenException"), Reason.CREDENTIALS, "ExpiredTokenException"),
        (error(400, "UnrecognizedClientException"), Reason.CREDENTIALS, "UnrecognizedClientException"),
        (error(400, "AccessDeniedException"), Reason.CREDENTIALS, "AccessDeniedException"),
        (
            error(400, "InvalidSignatureException", "Signature expired: x"),
            Reason.CLOCK_SKEW,
            "InvalidSignatureException",
        ),
        (error(400, "OperationDisabledException"), Reason.DISABLED_REGION, "OperationDisabledException"),
        (error(400, "ValidationException"), Reason.REFUSED, "ValidationException"),
        (answer(413), Reason.REFUSED, "HTTP413"),
        (error(400, "NobodyKnowsThisCode"), Reason.BAD_ANSWER, "NobodyKnowsThisCode"),
        (answer(302, b"", "Location: http://127.0.0.1:1/"), Reason.BAD_ANSWER, "HTTP302"),
        (answer(200, b"<html>"), Reason.BAD_ANSWER, "BadAnswer"),
        (answer(200, b'{"FailedEntryCount":0,"Entries":[{},{}]}'), Reason.BAD_ANSWER, "BadAnswer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n" + CLOSE, Reason.BAD_ANSWER, "BadAnswer"),
        (CLOSE, Reason.CONNECTION, "Disconnected"),
        (RESET, Reason.CONNECTION, "ECONNRESET"),
        (answer(200, b"12345").removesuffix(b"45") + CLOSE, Reason.CONNECTION, "Truncated"),
    ],
)
async def test_a_failed_call(make: Make, serve: Serve, reply: bytes, reason: Reason, code: str) -> None:
    wire = await serve(reply)
    caught = await failure(make(wire.url))
    assert (caught.reason, caught.code) == (reason, code)
    assert caught.message
    assert len(wire.requests) == 1, "a call is made once"


async def test_retry_after_reaches_the_lane(make: Make, serve: Serve) -> None:
    wire = await serve(answer(503, b"", "Retry-After: 7"))
    assert (await failure(make(wire.url))).retry_after == 7.0


async def test_a_server_that_hangs_runs_into_the_timeout(make: Make, serve: Serve) -> None:
    wire = await serve(None)
    caught = await failure(make(wire.url, timeout_seconds=0.05))
    assert (caught.reason, caught.code) == (Reason.TIMEOUT, "Timeout")
    assert "within 0.05 s" in caught.message


async def test_a_host_that_takes_no_connection_runs_into_the_connect_timeout(make: Make) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        queued = [socket.socket() for _ in range(3)]
        for one in queued:  # these fill the queue of connections that nobody accepts
            one.setblocking(False)
            one.connect_ex(address)
        caught = await failure(make(f"http://{address[0]}:{address[1]}", connect_seconds=0.05))
        for one in queued:
            one.close()
    assert (caught.reason, caught.code) == (Reason.TIMEOUT, "ConnectTimeout")


async def test_nobody_listens(make: Make) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        caught = await failure(make(f"http://127.0.0.1:{unheard.getsockname()[1]}"))
    assert (caught.reason, caught.code) == (Reason.CONNECTION, "ECONNREFUSED")


async def test_a_host_that_does_not_exist(make: Make) -> None:
    caught = await failure(make("http://no-such-host.invalid"))
    assert (caught.reason, caught.code) == (Reason.CONNECTION, "DNS")


async def test_an_endpoint_that_is_none_is_said_to_be_so(make: Make) -> None:
    caught = await failure(make("localhost:4566"))
    assert caught.reason is Reason.CONNECTION
    assert "AWS_ENDPOINT_URL_EVENTBRIDGE" in caught.message


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_tls_by_the_bundle_that_aws_settings_name(make: Make, serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    wire = await serve(tls=server_tls(authority))
    assert len(await make(Aws(wire.url, str(bundle))).put(DESTINATION, deliveries())) == 1
    assert len(await make(Aws(wire.url, bundle=False)).put(DESTINATION, deliveries())) == 1
    caught = await failure(make(wire.url))
    assert (caught.reason, caught.code) == (Reason.CONNECTION, "TLS")
    assert len(wire.requests) == 2


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_bundle_that_cannot_be_read_is_a_mistake_in_the_configuration(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(ConfigurationError, match=r"AWS_CA_BUNDLE: .*ca\.pem is not a readable CA bundle"):
        PLUGIN.create(PLUGIN.settings(), SinkContext(Aws("https://h", str(bundle)), 1, 262_144))


async def test_the_proxy_of_the_environment_is_used_as_botocore_would(
    make: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await serve()
    monkeypatch.setenv("http_proxy", wire.url.replace("http://", "http://user:word@"))
    await make("http://events.invalid").put(DESTINATION, deliveries())
    head = wire.requests[0][0]
    assert head.startswith(b"POST http://events.invalid/ HTTP/1.1\r\n")
    assert headers_of(head)["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    monkeypatch.setenv("no_proxy", "events.invalid")
    assert (await failure(make("http://events.invalid"))).code == "DNS"


async def test_one_connection_serves_call_after_call_whatever_is_answered(make: Make, serve: Serve) -> None:
    wire = await serve(error(500, "InternalException"), answer(503, b"x" * 100_000), ACCEPTED)
    sink = make(wire.url)
    await failure(sink)
    await failure(sink)
    await sink.put(DESTINATION, deliveries())
    assert (wire.connections, len(wire.requests)) == (1, 3)


async def test_a_kept_connection_that_closes_under_a_request_is_not_asked_again_blindly(
    make: Make, serve: Serve
) -> None:
    wire = await serve(ACCEPTED, CLOSE, ACCEPTED)
    sink = make(wire.url)
    await sink.put(DESTINATION, deliveries())
    assert (await failure(sink)).reason is Reason.CONNECTION
    assert (wire.connections, len(wire.requests)) == (1, 2)
    await sink.put(DESTINATION, deliveries())
    assert (wire.connections, len(wire.requests)) == (2, 3)


async def test_the_pool_has_room_for_every_call_in_flight_and_no_more(make: Make, serve: Serve) -> None:
    wire = await serve(*[None] * 5, ACCEPTED)
    sink = make(wire.url, max_concurrency=2)  # fair shares may take a region to twice of it
    calls = [asyncio.create_task(sink.put(DESTINATION, deliveries())) for _ in range(5)]
    for _ in range(4):
        await wire.held.acquire()
    assert wire.connections == 4
    wire.release.set()
    await asyncio.gather(*calls)
    assert wire.connections == 4


async def test_each_region_has_a_pool_of_its_own(make: Make, serve: Serve) -> None:
    wire = await serve()
    sink = make(wire.url)
    for region in ("eu-west-1", "us-east-1", "eu-west-1"):
        await sink.put(Destination("1", region, DESTINATION.event_source_name), deliveries())
    assert wire.connections == 2
    scopes = [headers_of(head)["authorization"].split("/")[2] for head, _ in wire.requests]
    assert scopes == ["eu-west-1", "us-east-1", "eu-west-1"]


async def test_a_call_can_be_cancelled_and_the_sink_closed_twice(make: Make, serve: Serve) -> None:
    wire = await serve(None)
    sink = make(wire.url)
    call = asyncio.create_task(sink.put(DESTINATION, deliveries()))
    await wire.held.acquire()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await sink.close()
    await sink.close()


async def test_trouble_with_credentials_is_passed_on_and_passes(make: Make, serve: Serve) -> None:
    class Refusing(Aws):
        refusals: Sequence[PutError] = ()

        async def credentials(self) -> ReadOnlyCredentials:
            for refusal in self.refusals:
                raise refusal
            return KEYS

    wire = await serve()
    aws = Refusing(wire.url)
    aws.refusals = [PutError(Reason.CREDENTIALS, "NoCredentials", "none found")]
    sink = make(aws)
    assert (await failure(sink)).code == "NoCredentials"
    aws.refusals = []
    assert len(await sink.put(DESTINATION, deliveries())) == 1
