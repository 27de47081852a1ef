"""Stopping a whole daemon while a stream that keeps nothing is at its busiest."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from forwarder.app import Daemon
from forwarder.intake.base import Intake
from forwarder.intake.file import FileIntake, FileSettings
from forwarder.intake.websocket import WebsocketIntake
from forwarder.intake.websocket_settings import WebsocketSettings
from forwarder.partner_sources import NoSources
from forwarder.settings import EnvSettings, Settings
from forwarder.sinks.stdout import StdoutSink
from forwarder.surroundings import Configured, Surroundings

INTEGRATION = """\
NAME=a
AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX=a
EVENT_FILTER=v2.#
INTENDED_STATE=ENABLED
"""
NOTIFICATION = '{"topicName":"v2.users.u.presence","eventBody":{"n":%d}}'
RATE = 500  # a second: two seconds' work, if closing did not hurry it


@pytest.fixture
def nowhere() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_WRONLY)
    yield fd
    os.close(fd)


class HangingDisk(ThreadPoolExecutor):
    """The spool's thread on a disk that answers until it does not."""

    def __init__(self) -> None:
        super().__init__(1)
        self.hangs = False
        self._answer = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.hangs:
            super().submit(self._answer.wait)
        return super().submit(fn, *args, **kwargs)

    def answer(self) -> None:
        self.hangs = False
        self._answer.set()


async def stopped_at_its_busiest(
    intake: Intake, directory: Path, nowhere: int, disk: HangingDisk | None = None
) -> Daemon:
    """A daemon that was asked to stop as soon as anything had come, after it has. With a disk, that hangs then."""
    (directory / "i").mkdir()
    (directory / "i" / "a.env").write_text(INTEGRATION)
    own = Settings(
        organization_id="o",
        integrations_dir=directory / "i",
        state_dir=directory / "s",
        http_port=0,
        intake=intake.name,
        sink="stdout",
        shutdown_seconds=1 if disk else 20,
    )

    async def nothing() -> None:
        """Nothing is shared."""

    around = Surroundings(
        intake=intake, sink=StdoutSink(nowhere, 262_144), sources=NoSources(), close=nothing, executor=disk
    )
    daemon = Daemon(Configured(own, EnvSettings(), EnvSettings()), around)
    running = asyncio.create_task(daemon.run())
    while intake.name not in daemon.books.intakes:  # noqa: ASYNC110  (read off the daemon from outside)
        await asyncio.sleep(0)
    if disk:
        disk.hangs = True
    daemon.stop()
    await running
    return daemon


async def test_all_that_a_websocket_had_brought_is_delivered(tmp_path: Path, nowhere: int) -> None:
    sent = 0

    async def pour(connection: ServerConnection) -> None:
        nonlocal sent
        try:
            while True:
                await connection.send(NOTIFICATION % sent)
                sent += 1
                await asyncio.sleep(0)  # else what fills the network's buffers is as much as two seconds' reading
        except ConnectionClosed:
            pass

    async with serve(pour, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = WebsocketSettings.model_validate({"url": f"ws://127.0.0.1:{port}"})
        daemon = await stopped_at_its_busiest(WebsocketIntake(settings), tmp_path, nowhere)
    assert daemon.books.intakes["websocket"].received == sent
    assert daemon.books.lanes["a"].delivered == sent


async def test_all_that_was_read_of_a_pipe_is_delivered_whatever_its_rate(tmp_path: Path, nowhere: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    settings = FileSettings.model_validate({"path": str(tmp_path / "pipe"), "rate": RATE})
    lines = "".join(NOTIFICATION % number + "\n" for number in range(1000))  # less than a pipe holds: read in one piece
    writing = asyncio.create_task(asyncio.to_thread((tmp_path / "pipe").write_text, lines))
    daemon = await stopped_at_its_busiest(FileIntake(settings), tmp_path, nowhere)
    await writing
    assert daemon.books.intakes["file"].received == 1000
    assert daemon.books.lanes["a"].delivered == 1000


async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, nowhere: int) -> None:
    (tmp_path / "events").write_text("".join(NOTIFICATION % number + "\n" for number in range(20_000)))
    settings = FileSettings.model_validate({"path": str(tmp_path / "events")})
    disk = HangingDisk()
    daemon = await stopped_at_its_busiest(FileIntake(settings), tmp_path, nowhere, disk)
    assert daemon.hangs
    assert daemon.books.lanes["a"].pending > 0
    disk.answer()
    await daemon._spool.close()
