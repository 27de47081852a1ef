"""Broker, publisher, emulator, oracle and a daemon that is a process of its own, on free ports in one directory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from forwarder.emulator.faults import FaultRule
from forwarder.emulator.http import Emulator
from tests.system.oracle import Oracle, payload, topic
from tests.system.processes import ACCESS_KEY, SECRET, Daemon, Mosquitto, until
from tests.system.publisher import Publisher

TICK = 0.01
CRM = {"EVENT_FILTER": "v2.users.{id}.presence"}
AUDIT = {
    "EVENT_FILTER": "v2.users.{id}.routingStatus",
    "AWS_ACCOUNT_ID": "444455556666",
    "AWS_ACCOUNT_REGION": "eu-west-1",
}
WANTS = {"presence": ("crm",), "routingStatus": ("audit",)}


class Rig:
    """`kinds` are the kinds of topic that are published in turn."""

    def __init__(self, directory: Path, settings: Mapping[str, str], wants: Mapping[str, Sequence[str]]) -> None:
        self.directory = directory
        self.broker = Mosquitto(directory / "broker")
        self.emulator = Emulator(auto_associate=True, credentials={ACCESS_KEY: SECRET})
        self.oracle = Oracle(self.emulator, wants)
        self.kinds: Sequence[str] = tuple(wants)
        self.daemon = Daemon(
            directory / "daemon", {"FORWARDER_MQTT_URL": f"mqtt://127.0.0.1:{self.broker.port}", **settings}
        )
        self.published = 0
        self.imbalances: list[str] = []
        self.memory_peak = 0
        self.scrapes = 0
        self.undo = AsyncExitStack()
        """What a run has set up itself, to be taken down once the daemon has ended."""
        self.notes: list[str] = []
        """What a run wants told beside its numbers."""
        self._publisher: Publisher | None = None

    async def start(self, integrations: Mapping[str, Mapping[str, str]]) -> None:
        await self.emulator.start()
        self.daemon.settings.setdefault("AWS_ENDPOINT_URL_EVENTBRIDGE", self.emulator.url)
        await self.broker.start()
        for id_, values in integrations.items():
            self.daemon.integration(id_, **values)
        await self.daemon.start(integrations=len(integrations))

    def fault(self, **rule: Any) -> None:
        """Have the emulator's PutPartnerEvents go wrong: a FaultRule, in place of the last of its scope."""
        self.emulator.faults.set(msgspec.convert({"operation": "PutPartnerEvents", **rule}, FaultRule))

    async def publish(self, *, rate: float, seconds: float) -> None:
        """Publish steadily. While the broker is away nothing is published: nobody acknowledges it."""
        loop = asyncio.get_running_loop()
        started, sent = loop.time(), 0
        while (elapsed := loop.time() - started) < seconds:
            due = int(min(elapsed + TICK, seconds) * rate)
            with contextlib.suppress(OSError):
                await self._publish_some(due - sent)
            sent = due
            await asyncio.sleep(TICK)
        await self.acknowledged()

    async def burst(self, count: int) -> None:
        """Publish as fast as the broker takes it."""
        await self._publish_some(count)
        await self.acknowledged()

    async def send(self, topic: str, *payloads: bytes) -> None:
        """Publish what the oracle knows nothing of, and wait until the broker has it."""
        publisher = await self._connected()
        for body in payloads:
            await publisher.publish(-1, topic.replace(".", "/"), body)
        await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until the broker has answered for everything."""
        publisher = self._publisher
        await until(lambda: publisher is None or publisher.idle, "the broker acknowledges what is published")

    async def _connected(self) -> Publisher:
        if self._publisher is None or not self._publisher.connected:
            self._publisher = await Publisher.connect(self.broker.port, self.oracle.acknowledged)
        return self._publisher

    async def _publish_some(self, count: int) -> None:
        publisher = await self._connected()
        for _ in range(count):
            number, self.published = self.published, self.published + 1
            kind = self.kinds[number % len(self.kinds)]
            name, body = topic(number, kind), payload(number, kind)
            at = await publisher.publish(number, name.replace(".", "/"), body)
            self.oracle.sent(number, kind, at)

    async def settled(self, patience: float = 15.0) -> None:
        """Wait until nothing is missing, for as long as that comes nearer."""
        missing = -1
        while self.oracle.missing not in (0, missing):
            missing = self.oracle.missing
            with contextlib.suppress(AssertionError):
                await until(lambda: not self.oracle.missing, "everything arrives", patience)

    async def quiet(self) -> None:
        """Wait until the daemon has booked the answer to every call that it made."""

        async def nothing_pending() -> bool:
            status = await self.daemon.status()
            return not any(lane["pending"] for lane in status["books"]["integrations"].values())

        await until(nothing_pending, "nothing is pending")

    @asynccontextmanager
    async def audited(self) -> AsyncIterator[None]:
        """Scrape all the while, and hold every scrape to the books."""
        auditing = asyncio.create_task(self._audit())
        try:
            yield
        finally:
            auditing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await auditing  # a scrape that was answered with an error fails the run
            self.memory_peak = max(self.memory_peak, self.daemon.memory_peak())

    async def _audit(self) -> None:
        while True:
            self.memory_peak = max(self.memory_peak, self.daemon.memory_peak())
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):  # it may just be restarting
                self.imbalances += (await self.daemon.scrape()).imbalances()
                self.scrapes += 1
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        if self._publisher:
            self._publisher.close()
        await self.daemon.kill()
        await self.undo.aclose()
        await self.broker.kill()
        await self.emulator.stop()


@asynccontextmanager
async def running(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    integrations: Mapping[str, Mapping[str, str]] | None = None,
    wants: Mapping[str, Sequence[str]] | None = None,
) -> AsyncIterator[Rig]:
    """A rig in which what is published now arrives: by default two integrations in two accounts and regions."""
    rig = Rig(directory, settings or {}, wants or WANTS)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rig.close)
        await rig.start(integrations or {"crm": CRM, "audit": AUDIT})
        yield rig
