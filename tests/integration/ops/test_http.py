"""The server on a real socket, asked by a real client."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from forwarder.clock import SystemClock
from forwarder.errors import ConfigurationError
from forwarder.intake.base import IntakeHealth
from forwarder.ops import probes, status
from forwarder.ops.access import Access
from forwarder.ops.http import Http
from forwarder.ops.masking import Masker
from forwarder.ops.metrics import Metrics
from forwarder.ops.snapshot import Snapshot
from forwarder.spool.base import Books, LaneBooks


class Daemon:
    """What the server is built on: a snapshot that tests change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.state = snapshot

    def change(self, **fields: object) -> None:
        self.state = msgspec.structs.replace(self.state, **fields)

    async def snapshot(self) -> Snapshot:
        return self.state

    @asynccontextmanager
    async def serve(
        self, admin: str | None = None, viewer: str | None = None, more: list[web.RouteDef] | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        clock, masker = SystemClock(), Masker(["hunter2"])
        http = Http(
            "127.0.0.1",
            0,
            rules=Access(admin, viewer),
            routes=[
                *probes.routes(self.snapshot, Metrics(), clock),
                *status.routes(self.snapshot, masker, clock),
                *(more or []),
            ],
        )
        task = asyncio.create_task(http.run(), name="http")
        await http.listening.wait()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{http.port}") as session:
                yield session
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def daemon(snapshot: Snapshot) -> Daemon:
    return Daemon(snapshot)


async def readiness(session: aiohttp.ClientSession) -> tuple[int, list[str]]:
    async with session.get("/readyz") as answer:
        return answer.status, (await answer.json())["reasons"]


async def test_the_probes(daemon: Daemon) -> None:
    async with daemon.serve() as session:
        async with session.get("/livez") as answer:
            assert (answer.status, await answer.json()) == (200, {"alive": True})
        assert await readiness(session) == (200, [])


async def test_not_ready_says_why(daemon: Daemon) -> None:
    ready = daemon.state
    spool = msgspec.structs.replace(ready.spool, bytes_used=ready.spool.bytes_limit)
    untouched = msgspec.structs.replace(ready.reload, succeeded=0, failed=0)
    unreadable = msgspec.structs.replace(untouched, failed=1)
    cases: list[tuple[dict[str, object], str]] = [
        ({"draining": True}, "the daemon is stopping"),
        (
            {"intake_health": IntakeHealth(connected=False, detail="refused")},
            "the intake mqtt is not connected: refused",
        ),
        ({"receiver_trouble": "disk full"}, "nothing is taken from the intake: disk full"),
        ({"spool": spool}, "the spool is full: 1000000 of 1000000 bytes"),
        ({"reload": untouched, "integrations": ()}, "the integrations have not been read yet"),
        ({"reload": unreadable, "integrations": ()}, "the integrations could not be read"),
    ]
    async with daemon.serve() as session:
        for fields, reason in cases:
            daemon.state = ready
            daemon.change(**fields)
            assert await readiness(session) == (503, [reason])


async def test_one_integrations_trouble_does_not_make_the_daemon_unready(daemon: Daemon) -> None:
    assert any(lane.trouble for lane in daemon.state.lanes.values())
    async with daemon.serve() as session:
        assert (await readiness(session))[0] == 200


async def test_a_spool_that_does_not_answer_is_not_ready_and_silences_nothing(daemon: Daemon) -> None:
    daemon.change(spool_answering=False)
    async with daemon.serve() as session:
        assert await readiness(session) == (503, ["the spool does not answer: its disk hangs or fails"])
        async with session.get("/metrics") as answer:
            assert "forwarder_spool_answering 0.0" in await answer.text()
        async with session.get("/api/status") as answer:
            assert (await answer.json())["spool"]["answering"] is False


async def test_metrics_in_the_form_that_is_asked_for(daemon: Daemon) -> None:
    async with daemon.serve() as session:
        async with session.get("/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert 'forwarder_deliveries_delivered_total{integration="crm"} 20.0' in await answer.text()
        async with session.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as answer:
            assert answer.content_type == "application/openmetrics-text"
            assert (await answer.text()).endswith("# EOF\n")


async def test_status_is_the_whole_snapshot(daemon: Daemon) -> None:
    health = IntakeHealth(connected=True, detail="mqtts://joe:pw@broker with hunter2")
    daemon.change(intake_health=health)
    async with daemon.serve() as session, session.get("/api/status") as answer:
        assert answer.content_type == "application/json"
        found = await answer.json()
    assert found["ready"] is True
    assert found["intake"]["detail"] == "mqtts://joe:***@broker with ***"
    assert found["books"]["integrations"]["crm"] == {
        "matched": 25,
        "delivered": 20,
        "expired": 1,
        "dead_lettered": {"oversize": 2},
        "retried": {},
        "pending": 2,
    }
    assert found["books"]["intakes"]["mqtt"] == {"received": 33, "malformed": 1, "unmatched": 2, "matched": 30}
    crm, fresh = found["integrations"]
    assert (crm["id"], crm["state"], crm["event_source"]["state"]) == ("crm", "ACTIVE", "PENDING")
    assert crm["event_source_name"] == "aws.partner/genesys.com/cloud/org/crm"
    assert (fresh["state"], fresh["reason"]) == ("ERROR", "the event source was deleted")
    assert found["lanes"]["fresh"]["trouble"] == "throttled"
    assert found["regions"]["us-east-1"]["limit"] == 64
    assert found["reload"]["problems"][0]["key"] == "AWS_ACCOUNT_REGION"
    assert found["spool"]["full"] is False


async def test_tokens(daemon: Daemon) -> None:
    async def write(_request: web.Request) -> web.Response:
        return web.json_response({"written": True})

    async with daemon.serve("the-admin", "the-viewer", [web.post("/api/thing", write)]) as session:

        async def ask(method: str, path: str, token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.request(method, path, headers=headers, json={} if method == "POST" else None) as answer:
                assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
                return answer.status

        for token, read, written in (
            (None, 401, 401),
            ("x", 401, 401),
            ("the-viewer", 200, 403),
            ("the-admin", 200, 200),
        ):
            assert await ask("GET", "/api/status", token) == read
            assert await ask("POST", "/api/thing", token) == written
        for path in ("/livez", "/readyz", "/metrics"):
            assert await ask("GET", path, None) == 200
        assert await ask("GET", "/api/nothing", None) == 401  # what exists is nobody's business


@pytest.mark.parametrize(("host", "expected"), [("evil.example", 403), ("localhost:8080", 200), ("[::1]:1", 200)])
async def test_without_tokens_the_host_must_be_this_machine(daemon: Daemon, host: str, expected: int) -> None:
    async with daemon.serve() as session:
        async with session.get("/api/status", headers={"Host": host}) as answer:
            assert answer.status == expected
        async with session.get("/metrics", headers={"Host": host}) as answer:
            assert answer.status == 200


async def test_every_answer_carries_the_headers_and_errors_are_json(daemon: Daemon) -> None:
    async def broken(_request: web.Request) -> web.Response:
        raise ValueError("with a secret in it")

    async with daemon.serve(more=[web.get("/api/broken", broken)]) as session:
        for method, path, expected in (
            ("GET", "/livez", 200),
            ("GET", "/nothing", 404),
            ("POST", "/livez", 403),
            ("GET", "/api/broken", 500),
        ):
            async with session.request(method, path) as answer:
                body = json.loads(await answer.text())
                assert answer.status == expected
                assert body.get("status", 200) == expected
                assert "secret" not in json.dumps(body)
                assert answer.headers["Server"] == "forwarder"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_wrong_tokens_are_held_back_and_do_not_touch_the_probes(daemon: Daemon) -> None:
    async with daemon.serve("the-admin") as session:

        async def ask(path: str, token: str | None = None) -> aiohttp.ClientResponse:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(path, headers=headers) as answer:
                await answer.read()
                return answer

        for _ in range(30):
            assert (await ask("/api/status")).status == 401  # no token is no guess
        assert [(await ask("/api/status", "guess")).status for _ in range(10)] == [401] * 10
        held = await ask("/api/status", "the-admin")
        assert (held.status, int(held.headers["Retry-After"]) > 0) == (429, True)
        assert (await ask("/livez", "guess")).status == 200


async def test_bodies_that_are_not_json_or_too_large(daemon: Daemon) -> None:
    async def write(request: web.Request) -> web.Response:
        return web.json_response({"bytes": len(await request.read())})

    async with daemon.serve("the-admin", more=[web.post("/api/thing", write)]) as session:
        for body, content_type, expected in (
            (b"{}", "application/json", 200),
            (b"{}", "application/json; charset=utf-8", 200),
            (b"{}", "text/plain", 415),
            (b"a=1", "application/x-www-form-urlencoded", 415),
            (b"x" * 262_144, "application/json", 200),
            (b"x" * 262_145, "application/json", 413),
        ):
            headers = {"Authorization": "Bearer the-admin", "Content-Type": content_type}
            async with session.post("/api/thing", data=body, headers=headers) as answer:
                assert answer.status == expected
                assert (await answer.json()).get("status", 200) == expected


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 hello TLS\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n"])
async def test_what_is_no_http_is_told_so_and_leaves_no_traceback(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with daemon.serve() as session:
        reader, writer = await asyncio.open_connection("127.0.0.1", session._base_url.port if session._base_url else 0)
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
        writer.close()
        await writer.wait_closed()
        assert (await readiness(session))[0] == 200
    assert caplog.records == []


async def test_a_wrong_method_names_the_right_ones(daemon: Daemon) -> None:
    async with daemon.serve("the-admin") as session:
        headers = {"Authorization": "Bearer the-admin"}
        async with session.delete("/api/status", headers=headers) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_a_port_in_use_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            await Http("127.0.0.1", port, rules=Access(None, None), routes=[]).run()
    (problem,) = caught.value.problems
    assert problem.key == "FORWARDER_HTTP_PORT"
    assert problem.message.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert "in use" in problem.message


async def test_stopping_does_not_wait_for_idle_connections(daemon: Daemon) -> None:
    async with asyncio.timeout(1.5), daemon.serve() as session:
        assert (await readiness(session))[0] == 200


async def test_an_integration_may_be_called_as_a_secret_is(daemon: Daemon) -> None:
    books = daemon.state.books
    daemon.change(
        books=Books(books.intakes, books.lanes | {"token-service": LaneBooks(matched=3, delivered=1)}),
        lanes=daemon.state.lanes | {"token-service": daemon.state.lanes["crm"]},
    )
    async with daemon.serve() as session, session.get("/api/status") as answer:
        found = await answer.json()
    assert found["books"]["integrations"]["token-service"]["pending"] == 2
    assert found["lanes"]["token-service"]["in_flight"] == 2
