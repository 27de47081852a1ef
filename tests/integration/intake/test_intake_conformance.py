"""What every intake must do, whatever it reads from. A new one joins by a source in SOURCES."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiomqtt
import pytest
from websockets.asyncio.server import ServerConnection, serve

from forwarder.errors import EndOfStream
from forwarder.intake.base import Intake, Message
from forwarder.intake.file import FileIntake, FileSettings
from forwarder.intake.mqtt import MqttIntake
from forwarder.intake.mqtt_settings import MqttSettings
from forwarder.intake.websocket import WebsocketIntake
from forwarder.intake.websocket_settings import WebsocketSettings

Send = Callable[[Sequence[bytes]], Any]
Source = Callable[[pytest.FixtureRequest, Path], AbstractAsyncContextManager[tuple[Intake, Send]]]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what an intake shows only by its state."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (nobody signals it)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def from_mqtt(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Intake, Send]]:
    broker = request.getfixturevalue("mosquitto")
    intake = MqttIntake(MqttSettings.model_validate({"url": broker.url, "state_dir": tmp_path}))

    async def send(payloads: Sequence[bytes]) -> None:
        await until(lambda: "1 subscriptions" in intake.health().detail)
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for payload in payloads:
                await client.publish("v2/users/1/presence", payload, qos=1)

    yield intake, send


@asynccontextmanager
async def from_websocket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Intake, Send]]:
    opened: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        await opened.put(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]

        async def send(payloads: Sequence[bytes]) -> None:
            connection = await opened.get()
            for payload in payloads:
                await connection.send(payload, text=True)

        yield WebsocketIntake(WebsocketSettings.model_validate({"url": f"ws://127.0.0.1:{port}"})), send


@asynccontextmanager
async def from_file(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Intake, Send]]:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def send(payloads: Sequence[bytes]) -> None:
        await asyncio.to_thread(pipe.write_bytes, b"".join(payload + b"\n" for payload in payloads))

    yield FileIntake(FileSettings.model_validate({"path": str(pipe)})), send


@asynccontextmanager
async def from_script(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Intake, Send]]:
    intake = request.getfixturevalue("scripted_intake")

    async def send(payloads: Sequence[bytes]) -> None:
        intake.give(*([Message(None, payload)] for payload in payloads))

    yield intake, send


SOURCES: dict[str, Source] = {"mqtt": from_mqtt, "websocket": from_websocket, "file": from_file, "script": from_script}
KEEPING_NOTHING = ["websocket", "file"]
FILTERS = frozenset({"v2.users.*.presence"})


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    if request.param == "mqtt":
        request.getfixturevalue("mosquitto")  # an async fixture cannot be asked for from within the test
    return lambda: SOURCES[cast("str", request.param)](request, tmp_path)


def numbered(count: int) -> list[bytes]:
    return [b'{"n":%d,"topicName":"v2.users.1.presence"}' % number for number in range(count)]


async def test_everything_comes_in_order_in_batches_of_some_hundred(source: Callable[[], Any]) -> None:
    async with source() as (intake, send):
        intake.subscribe(FILTERS)
        running = asyncio.create_task(intake.run())
        sending = asyncio.create_task(send(numbered(1200)))
        taken: list[bytes] = []
        async with asyncio.timeout(30):
            while len(taken) < 1200:
                batch = await intake.receive()
                assert 0 < len(batch.messages) <= 500
                taken += [message.payload for message in batch.messages]
                await batch.acknowledge()
        await sending
        assert taken == numbered(1200)
        await intake.close()
        running.cancel()


async def test_a_cancelled_receive_loses_nothing(source: Callable[[], Any]) -> None:
    async with source() as (intake, send):
        intake.subscribe(FILTERS)
        running = asyncio.create_task(intake.run())
        sending = asyncio.create_task(send(numbered(300)))
        taken: list[bytes] = []
        turn = 0
        async with asyncio.timeout(30):
            while len(taken) < 300:
                turn += 1
                receiving = asyncio.create_task(intake.receive())
                for _ in range(turn % 4):
                    await asyncio.sleep(0)
                receiving.cancel()
                await asyncio.wait({receiving})
                if receiving.cancelled():
                    continue
                batch = receiving.result()
                taken += [message.payload for message in batch.messages]
                await batch.acknowledge()
        await sending
        assert taken == numbered(300)
        await intake.close()
        running.cancel()


async def test_acknowledging_after_the_end_is_quiet_and_closing_twice_is_once(source: Callable[[], Any]) -> None:
    async with source() as (intake, send):
        intake.subscribe(FILTERS)
        running = asyncio.create_task(intake.run())
        sending = asyncio.create_task(send(numbered(1)))
        batch = await intake.receive()
        await sending
        await intake.close()
        await batch.acknowledge()
        await intake.close()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


@pytest.mark.parametrize("source", KEEPING_NOTHING, indirect=True)
async def test_what_was_read_of_a_stream_that_keeps_nothing_comes_after_closing(source: Callable[[], Any]) -> None:
    async with source() as (intake, send):
        assert not intake.acknowledges
        running = asyncio.create_task(intake.run())
        sending = asyncio.create_task(send(numbered(1200)))
        taken = [message.payload for message in (await intake.receive()).messages]
        await sending
        closing = asyncio.create_task(intake.close())
        with pytest.raises(EndOfStream):
            await receive_for_ever(intake, taken)
        await closing
        assert taken == numbered(1200)
        running.cancel()


@pytest.mark.parametrize("source", KEEPING_NOTHING, indirect=True)
async def test_closing_ends_a_waiting_receive_of_a_stream_that_keeps_nothing(source: Callable[[], Any]) -> None:
    async with source() as (intake, _):
        assert not intake.acknowledges
        running = asyncio.create_task(intake.run())
        receiving = asyncio.create_task(intake.receive())
        await asyncio.sleep(0)
        await intake.close()
        with pytest.raises(EndOfStream):
            await receiving
        running.cancel()


async def receive_for_ever(intake: Intake, taken: list[bytes]) -> None:
    while True:
        taken += [message.payload for message in (await intake.receive()).messages]


async def test_closing_before_running(source: Callable[[], Any]) -> None:
    async with source() as (intake, _):
        assert intake.health().detail
        await intake.close()
        await intake.close()
