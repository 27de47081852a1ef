"""The other ways in and out: a WebSocket stream, a file, standard input; standard output."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from forwarder.emulator.http import Emulator
from tests.system.processes import ACCESS_KEY, SECRET, Daemon, until

HEARTBEAT = '{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}'
CLOSING = '{"topicName":"v2.system.socket_closing","version":"2","eventBody":{"message":"closing"}}'


def frame(number: int, topic: str = "v2.users.7.presence") -> str:
    body = f'{{"n":{number},"rate":1.0}}'
    return f'{{"topicName":"{topic}","version":"2","eventBody":{body},"metadata":{{"CorrelationId":"c"}}}}'


def numbers(emulator: Emulator) -> list[int]:
    return [json.loads(event.detail)["eventBody"]["n"] for event in emulator.state.events()]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(auto_associate=True, credentials={ACCESS_KEY: SECRET}) as running:
        yield running


@pytest.fixture
async def daemon(tmp_path: Path, emulator: Emulator) -> AsyncIterator[Daemon]:
    """With one integration, not started."""
    daemon = Daemon(tmp_path / "daemon", {"AWS_ENDPOINT_URL_EVENTBRIDGE": emulator.url})
    daemon.integration("crm")
    yield daemon
    await daemon.kill()


async def test_a_websocket_stream_over_an_announced_close(daemon: Daemon, emulator: Emulator) -> None:
    subscribed: list[str] = []
    closed = asyncio.Event()

    async def channel(socket: ServerConnection) -> None:
        """Heartbeats and notifications; the first socket says that it will close and sends more until it does."""
        first = not subscribed
        subscribed.append(str(await socket.recv()))
        start = 0 if first else 1000
        await socket.send(HEARTBEAT)
        for number in range(start, start + 500):
            await socket.send(frame(number))
        await socket.send(frame(-1, "v2.queues.1.members"))
        if first:
            await socket.send(CLOSING)
            await until(lambda: len(subscribed) > 1, "the daemon comes back")
            for number in range(500, 600):
                await socket.send(frame(number))
            await socket.close()
            closed.set()
        await socket.wait_closed()

    async with serve(channel, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        daemon.settings |= {
            "FORWARDER_INTAKE": "websocket",
            "FORWARDER_WEBSOCKET_URL": f"ws://127.0.0.1:{port}/channels/streaming-1",
            "FORWARDER_WEBSOCKET_SUBSCRIBE": '{"subscribe": {topics}}',
        }
        await daemon.start()
        await asyncio.wait_for(closed.wait(), 20)
        await until(lambda: len(numbers(emulator)) >= 1100, "all notifications arrive")
        scrape = await daemon.scrape()
        assert await daemon.stop() == 0
    assert sorted(numbers(emulator)) == [*range(600), *range(1000, 1500)]
    assert [json.loads(message) for message in subscribed] == [{"subscribe": ["v2.users.*.presence"]}] * 2
    assert scrape.total("forwarder_notifications_unmatched_total") == 2
    assert scrape.total("forwarder_notifications_malformed_total") == 0
    assert scrape.imbalances() == []


@pytest.mark.parametrize("source", ["file", "stdin"])
async def test_a_file_is_forwarded_to_its_end_and_the_daemon_ends_by_itself(
    daemon: Daemon, emulator: Emulator, tmp_path: Path, source: str
) -> None:
    lines = "\n".join(frame(number) for number in range(2000)).encode()
    (tmp_path / "events").write_bytes(lines)
    daemon.settings |= {"FORWARDER_INTAKE": "file", "FORWARDER_FILE_PATH": "-"}
    if source == "file":
        daemon.settings["FORWARDER_FILE_PATH"] = str(tmp_path / "events")
    await daemon.launch(stdin=asyncio.subprocess.PIPE)
    assert daemon.process
    assert daemon.process.stdin
    daemon.process.stdin.write(lines if source == "stdin" else b"")
    daemon.process.stdin.close()
    assert await daemon.ended() == 0
    assert sorted(numbers(emulator)) == list(range(2000))


async def test_a_file_that_is_not_there_is_told_in_one_sentence(daemon: Daemon, tmp_path: Path) -> None:
    daemon.settings |= {"FORWARDER_INTAKE": "file", "FORWARDER_FILE_PATH": str(tmp_path / "absent")}
    await daemon.launch()
    assert await daemon.ended() == 1
    assert daemon.said().splitlines()[-1].startswith("forwarder: FORWARDER_FILE_PATH: cannot read ")


async def test_standard_output_gets_the_entries_as_json_lines(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "events").write_text(frame(1) + "\n" + frame(2))
    daemon.settings |= {
        "FORWARDER_INTAKE": "file",
        "FORWARDER_FILE_PATH": str(tmp_path / "events"),
        "FORWARDER_SINK": "stdout",
    }
    await daemon.launch()
    assert await daemon.ended() == 0
    entries = [entry for entry in daemon.log() if "Detail" in entry]
    assert [json.loads(entry["Detail"])["eventBody"]["n"] for entry in entries] == [1, 2]
    assert {(entry["Source"], entry["DetailType"]) for entry in entries} == {
        ("aws.partner/genesys.com/cloud/acme/crm", "v2.users.{id}.presence")
    }
