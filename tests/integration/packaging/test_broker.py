"""config/mosquitto/mosquitto.conf, in a real mosquitto: what the broker acknowledged, the client that was away gets."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "config/mosquitto/mosquitto.conf"
DEFAULT_QUEUE = 1000  # mosquitto's max_queued_messages unless told otherwise


class Broker:
    """A mosquitto with the shipped configuration; only port, path and user are this machine's."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        text = CONFIGURATION.read_text().replace("listener 1883", f"listener {self.port} 127.0.0.1")
        self._file.write_text(text.replace("/mosquitto/data/", f"{folder}/") + "user root\n")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin") or "mosquitto"
        arguments = ("-c", str(self._file))
        self._process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(10):
            while not await self._answers():
                assert self._process.returncode is None, "mosquitto does not take its configuration"
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @asynccontextmanager
    async def client(self, identifier: str, *, keep: bool) -> AsyncIterator[aiomqtt.Client]:
        async with aiomqtt.Client("127.0.0.1", self.port, identifier=identifier, clean_session=not keep) as client:
            yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    await broker.stop()


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_client_that_is_away_misses_nothing_even_over_a_restart(broker: Broker, qos: int) -> None:
    sent = 3 * DEFAULT_QUEUE
    await broker.start()
    async with broker.client("forwarder", keep=True) as client:
        await client.subscribe("v2/#", qos=1)
    async with broker.client("publisher", keep=False) as publisher:
        for number in range(sent):
            await publisher.publish("v2/users/7/presence", str(number), qos=qos)
    await broker.stop()
    await broker.start()

    got: list[int] = []
    async with asyncio.timeout(30), broker.client("forwarder", keep=True) as client:
        async for message in client.messages:
            got.append(int(message.payload))
            if len(got) == sent:
                break
    assert got == list(range(sent))
