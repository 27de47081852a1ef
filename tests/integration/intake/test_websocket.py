"""The WebSocket intake against a real server that is made to misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from websockets.asyncio.client import connect as websocket_connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Opcode

from forwarder.intake import websocket
from forwarder.intake.base import MAX_PAYLOAD_BYTES
from forwarder.intake.websocket import WebsocketIntake
from forwarder.intake.websocket_settings import WebsocketSettings

HEARTBEAT = '{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}'
CLOSING = '{"topicName": "v2.system.socket_closing", "eventBody": {"message": "soon"}}'


async def until(condition: Callable[[], object]) -> None:
    """Wait for what an intake shows only by its health."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (nobody signals it)
            await asyncio.sleep(0.005)


class Streamer:
    """A server that keeps its connections for the test to use. The newest is last."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.server: Server
        self.port = 0

    async def handle(self, connection: ServerConnection) -> None:
        await self.opened.put(connection)
        async for message in connection:
            await self.received.put(message)

    async def start(self) -> None:
        self.server = await serve(self.handle, "127.0.0.1", self.port, ping_interval=None, close_timeout=0.2)
        self.port = next(iter(self.server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()

    def intake(self, **settings: Any) -> WebsocketIntake:
        return WebsocketIntake(WebsocketSettings.model_validate({"url": f"ws://127.0.0.1:{self.port}/x"} | settings))


@pytest.fixture
async def streamer() -> AsyncIterator[Streamer]:
    streamer = Streamer()
    await streamer.start()
    yield streamer
    await streamer.stop()


@asynccontextmanager
async def running(intake: WebsocketIntake) -> AsyncIterator[WebsocketIntake]:
    task = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        await intake.close()
        assert task.cancelled()


async def take(intake: WebsocketIntake, count: int) -> list[bytes]:
    taken: list[bytes] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken += [message.payload for message in (await intake.receive()).messages]
    return taken


async def test_heartbeats_are_swallowed_and_all_else_is_a_notification(streamer: Streamer) -> None:
    async with running(streamer.intake()) as intake:
        connection = await streamer.opened.get()
        about = '{"topicName":"v2.a","eventBody":"channel.metadata"}'
        for frame in (HEARTBEAT, "one", about, "not json channel.metadata", b"\xff", ["in ", "fragments"]):
            await connection.send(frame)
        assert await take(intake, 5) == [
            b"one",
            about.encode(),
            b"not json channel.metadata",
            b"\xff",
            b"in fragments",
        ]
        assert intake.health().connected
        assert not intake.acknowledges


async def test_headers_and_subscriptions_are_sent(streamer: Streamer) -> None:
    intake = streamer.intake(headers="Authorization: Bearer x", subscribe='{"action":"subscribe","topics":{topics}}')
    async with running(intake):
        connection = await streamer.opened.get()
        assert connection.request
        assert connection.request.headers["Authorization"] == "Bearer x"
        for filters in ({"v2.b", "v2.a.*"}, {"v2.c"}):
            intake.subscribe(frozenset(filters))
            assert json.loads(await streamer.received.get()) == {"action": "subscribe", "topics": sorted(filters)}
        await connection.close()
        await streamer.opened.get()
        assert json.loads(await streamer.received.get())["topics"] == ["v2.c"]


async def test_a_message_that_names_no_topics_is_sent_once_a_connection(streamer: Streamer) -> None:
    intake = streamer.intake(subscribe="hello")
    async with running(intake):
        connection = await streamer.opened.get()
        assert await streamer.received.get() == "hello"
        intake.subscribe(frozenset({"v2.a"}))
        await connection.close()
        assert await streamer.received.get() == "hello"
        await streamer.opened.get()
        assert streamer.received.empty()


async def test_an_announced_close_is_taken_over_without_a_gap(streamer: Streamer) -> None:
    async with running(streamer.intake()) as intake:
        old = await streamer.opened.get()
        await old.send("first")
        await old.send(CLOSING)
        new = await streamer.opened.get()
        await old.send("late on the old socket")
        await take(intake, 2)
        await new.send("on the new")
        await old.close()
        assert await take(intake, 1) == [b"on the new"]
        assert intake.health().connected
        assert intake.health().reconnects == 1
        assert intake.health().lost_seconds == 0


async def test_the_time_without_a_socket_is_counted_and_what_had_come_is_kept(streamer: Streamer) -> None:
    async with running(streamer.intake()) as intake:
        connection = await streamer.opened.get()
        await connection.send("before")
        await streamer.stop()
        await until(lambda: not intake.health().connected)
        lost = intake.health().lost_seconds
        await until(lambda: intake.health().lost_seconds > lost)
        await streamer.start()
        await until(lambda: intake.health().connected)
        lost = intake.health().lost_seconds
        assert lost > 0
        assert await take(intake, 1) == [b"before"]
        assert intake.health().lost_seconds == lost


@pytest.mark.parametrize("answer", [True, False], ids=["pongs", "nothing"])
async def test_silence_ends_a_connection_unless_pings_are_answered(streamer: Streamer, answer: bool) -> None:
    async with running(streamer.intake(silence_seconds=0.3)) as intake:
        connection = await streamer.opened.get()
        pings = asyncio.Semaphore(0)
        _count_pings(connection, pings, answer=answer)
        if answer:
            async with asyncio.timeout(20):
                for _ in range(6):
                    await pings.acquire()
            assert intake.health().reconnects == 0
        else:
            await streamer.opened.get()
            await until(lambda: intake.health().reconnects == 1)
            assert intake.health().lost_seconds > 0.29


async def test_after_a_heartbeat_a_proxys_pongs_are_no_life(streamer: Streamer) -> None:
    async with running(streamer.intake(silence_seconds=0.3)):
        connection = await streamer.opened.get()
        await connection.send(HEARTBEAT)
        async with asyncio.timeout(20):
            await streamer.opened.get()


def _count_pings(connection: ServerConnection, pings: asyncio.Semaphore, *, answer: bool) -> None:
    """Count the pings of a connection, and answer them or not."""
    receive = connection.protocol.recv_frame

    def counted(frame: Any) -> None:
        if frame.opcode is Opcode.PING:
            pings.release()
            if not answer:
                return
        receive(frame)

    connection.protocol.recv_frame = counted


async def test_back_pressure_stops_the_sender_and_shows_life_by_pongs(streamer: Streamer) -> None:
    count = 30_000
    async with running(streamer.intake(silence_seconds=0.3)) as intake:
        connection = await streamer.opened.get()
        pongs = asyncio.Semaphore(0)
        receive = connection.protocol.recv_frame

        def counted(frame: Any) -> None:
            if frame.opcode is Opcode.PONG:
                pongs.release()
            receive(frame)

        connection.protocol.recv_frame = counted

        async def send() -> None:
            for number in range(count):
                await connection.send(f"{number:06}" + "x" * 1000)

        sending = asyncio.create_task(send())
        async with asyncio.timeout(20):
            for _ in range(5):
                await pongs.acquire()
        assert not sending.done()
        assert len(intake._messages) < 3_000
        taken = await take(intake, count)
        await sending
        assert [int(payload[:6]) for payload in taken] == list(range(count))
        assert intake.health().reconnects == 0


async def test_what_had_come_before_the_socket_closed_is_kept_under_back_pressure(streamer: Streamer) -> None:
    async with running(streamer.intake(silence_seconds=0.3)) as intake:
        connection = await streamer.opened.get()
        for number in range(2_200):
            await connection.send(b"%d" % number)
        await until(lambda: len(intake._messages) > 2_000)
        await connection.close()
        await until(lambda: intake.health().reconnects == 1)
        assert [int(payload) for payload in await take(intake, 2_200)] == list(range(2_200))


async def test_an_oversized_frame_costs_the_connection_and_is_told(streamer: Streamer) -> None:
    with structlog.testing.capture_logs() as logs:
        async with running(streamer.intake()) as intake:
            connection = await streamer.opened.get()
            await connection.send("before")
            await connection.send(b"x" * (MAX_PAYLOAD_BYTES + 1))
            await (await streamer.opened.get()).send("after")
            assert await take(intake, 2) == [b"before", b"after"]
    told = [line["reason"] for line in logs if line["event"] == "websocket_not_connected"]
    assert ["message too big" in reason for reason in told] == [True]


async def test_a_refused_handshake_is_told_and_tried_again(streamer: Streamer) -> None:
    attempts: asyncio.Queue[None] = asyncio.Queue()

    async def refuse(connection: ServerConnection, request: Any) -> Any:
        await attempts.put(None)
        return connection.respond(401, "who are you?")

    async def nothing(connection: ServerConnection) -> None:
        raise AssertionError

    handler: Callable[[ServerConnection], Awaitable[None]] = nothing
    async with serve(handler, "127.0.0.1", 0, process_request=refuse) as server:
        streamer.port = next(iter(server.sockets)).getsockname()[1]
        async with running(streamer.intake(headers="Authorization: Bearer hush")) as intake:
            await attempts.get()
            await attempts.get()
            assert "401" in intake.health().detail
            assert "hush" not in intake.health().detail
        streamer.port = 0


async def test_an_error_that_nobody_has_foreseen_is_told_and_tried_again(
    streamer: Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError("of a new kind"), UnicodeError("label too long")]

    def connect(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return websocket_connect(*arguments, **options)

    monkeypatch.setattr(websocket, "connect", connect)
    with structlog.testing.capture_logs() as logs:
        async with running(streamer.intake()) as intake:
            await (await streamer.opened.get()).send("after")
            assert await take(intake, 1) == [b"after"]
    assert [line["exc_info"] for line in logs if line["event"] == "websocket_failed"] == [True, True]
