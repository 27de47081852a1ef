"""A real mosquitto on a free port, to be started, stopped and killed at will; and an intake that follows a script."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import pytest

from forwarder.intake.base import IntakeBatch, IntakeHealth, Message

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/bin:/usr/local/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """One broker. Its port and, where it is asked to persist, its sessions survive a restart."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.port = free_port()
        self.directory = directory
        self._config = directory / "mosquitto.conf"
        self._process: asyncio.subprocess.Process | None = None
        self.configure(extra)

    def configure(self, extra: str) -> None:
        """Lines that come after the listener's; they hold from the next start."""
        # Started by root it would become a user that may not look into pytest's directories.
        lines = ["user root", f"listener {self.port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0", extra]
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self) -> None:
        assert MOSQUITTO, "mosquitto is not installed"
        with (self.directory / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                MOSQUITTO, "-c", str(self._config), stdout=log, stderr=log
            )
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                assert self._process.returncode is None, (self.directory / "log").read_text()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """SIGTERM: it writes its sessions down where it persists."""
        await self._end(lambda process: process.terminate())

    async def kill(self) -> None:
        """SIGKILL: whatever it had not written down is gone."""
        await self._end(lambda process: process.kill())

    async def _end(self, signal: Callable[[asyncio.subprocess.Process], None]) -> None:
        if self._process and self._process.returncode is None:
            signal(self._process)
            await self._process.wait()

    def log(self) -> str:
        return (self.directory / "log").read_text()


@pytest.fixture
def mosquitto_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    return directory


@pytest.fixture
async def mosquitto(mosquitto_directory: Path) -> AsyncIterator[Mosquitto]:
    """A running broker without any limit on what it queues or has under way."""
    broker = Mosquitto(mosquitto_directory, "max_inflight_messages 0\nlog_type all")
    await broker.start()
    yield broker
    await broker.kill()


class ScriptedIntake:
    """An intake in memory: hands over what the test gives it, and keeps what was acknowledged. An exception in the
    script is raised by `receive` when its turn comes."""

    name: ClassVar[str] = "scripted"
    acknowledges: ClassVar[bool] = True

    def __init__(self) -> None:
        self.acknowledged: list[Message] = []
        self.topic_filters: frozenset[str] = frozenset()
        self.running = False
        self._script: list[list[Message] | Exception] = []
        self._given = asyncio.Event()

    def give(self, *steps: list[Message] | Exception) -> None:
        """Append batches, or an exception, to the script."""
        self._script.extend(steps)
        self._given.set()

    async def run(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False

    async def receive(self) -> IntakeBatch:
        while not self._script:
            self._given.clear()
            await self._given.wait()
        step = self._script[0]
        if isinstance(step, Exception):
            raise step
        del self._script[0]

        async def acknowledge() -> None:
            self.acknowledged.extend(step)

        return IntakeBatch(step, acknowledge)

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        self.topic_filters = topic_filters

    def health(self) -> IntakeHealth:
        return IntakeHealth(connected=self.running, detail="scripted")

    async def close(self) -> None:
        self.running = False


@pytest.fixture
def scripted_intake() -> ScriptedIntake:
    return ScriptedIntake()
