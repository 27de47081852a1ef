"""A whole daemon in this process: real files, spool and HTTP server, between an intake, a sink and an AWS that do as
the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import msgspec
import pytest

from forwarder.app import Daemon
from forwarder.intake.base import IntakeBatch, IntakeHealth, Message
from forwarder.model import Delivery, Destination, EntryResult, Reason, Verdict
from forwarder.ops.snapshot import SourceView
from forwarder.settings import EnvSettings, Settings
from forwarder.surroundings import Configured, Surroundings

ADMIN, VIEWER = "the-admin", "the-viewer"
CRM = """\
# Who: the sales team
INTENDED_STATE=ENABLED   # since March

AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX=crm
EVENT_FILTER=v2.users.{id}.presence
NAME="Sales"
"""


class PushedIntake:
    name: ClassVar[str] = "pushed"
    acknowledges: ClassVar[bool] = True

    def __init__(self) -> None:
        self.batches: asyncio.Queue[IntakeBatch] = asyncio.Queue()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def receive(self) -> IntakeBatch:
        return await self.batches.get()

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        pass

    def health(self) -> IntakeHealth:
        return IntakeHealth(connected=True, detail="pushed")

    async def close(self) -> None:
        pass


class Sink:
    """Accepts all, or refuses for good while `refusal` is set."""

    name: ClassVar[str] = "scripted"

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.delivered: list[tuple[Destination, Delivery]] = []

    def entry_size(self, _destination: Destination, delivery: Delivery) -> int:
        return len(delivery.notification.detail)

    def entry_fault(self, _destination: Destination, _delivery: Delivery) -> tuple[Reason, str] | None:
        return None

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        if self.refusal:
            return [EntryResult(Verdict.PERMANENT, None, self.refusal, "no")] * len(deliveries)
        self.delivered += [(destination, each) for each in deliveries]
        return [EntryResult(Verdict.ACCEPTED, "e")] * len(deliveries)

    async def close(self) -> None:
        pass


class Aws:
    """The event sources that exist. While `answers` is not set, nothing is deleted."""

    def __init__(self) -> None:
        self.sources: set[Destination] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def create(self, destination: Destination) -> None:
        self.sources.add(destination)

    async def delete(self, destination: Destination) -> None:
        await self.answers.wait()
        self.sources.discard(destination)

    async def look(self, destination: Destination) -> SourceView:
        return SourceView("ACTIVE" if destination in self.sources else "DELETED", None)


async def until(condition: Callable[[], Awaitable[Any] | Any], what: str) -> Any:
    """Wait for what the daemon does by itself."""
    try:
        async with asyncio.timeout(15):
            while True:
                met = condition()
                if isinstance(met, Awaitable):
                    met = await met
                if met:
                    return met
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} never happened") from None


class Rig:
    """The daemon and its surroundings."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.files = directory / "integrations"
        self.files.mkdir()
        self.intake, self.sink, self.aws = PushedIntake(), Sink(), Aws()
        own = Settings(
            organization_id="acme",
            integrations_dir=self.files,
            state_dir=directory / "var",
            sink="scripted",
            http_port=0,
            **{"admin_token": ADMIN, "viewer_token": VIEWER, "reload_seconds": 60, **settings},
        )
        around = Surroundings(intake=self.intake, sink=self.sink, sources=self.aws, close=self._nothing)
        self.daemon = Daemon(Configured(own, EnvSettings(), EnvSettings()), around)
        self._task: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def _nothing(self) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.daemon.http.port}"

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session
        return self._session

    async def start(self) -> None:
        self._task = asyncio.create_task(self.daemon.run())
        await until(lambda: self.daemon.http.listening.is_set() or (self._task and self._task.done()), "listening")
        self._session = aiohttp.ClientSession()

    async def stop(self) -> None:
        await self.session.close()
        self.daemon.stop()
        assert self._task
        await self._task

    async def ask(
        self, method: str, path: str, json: Any = None, *, token: str | None = ADMIN, **more: Any
    ) -> tuple[int, Any]:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        async with self.session.request(
            method, self.url + path, json=json, headers=headers, timeout=aiohttp.ClientTimeout(20), **more
        ) as answer:
            return answer.status, msgspec.json.decode(await answer.read())

    async def get(self, path: str, **query: str) -> Any:
        status, body = await self.ask("GET", path, params=query)
        assert status == 200, body
        return body

    async def put_file(self, id_: str, text: str) -> Path:
        """Write a file as somebody else would, and have the daemon take it."""
        path = self.files / f"{id_}.env"
        path.write_text(text)
        await self.reload()
        return path

    async def reload(self) -> None:
        await self.daemon._reloader.load_once()

    async def state(self, id_: str, code: str) -> Any:
        """Wait for a reported state; the integration as it is then."""

        async def reached() -> Any:
            _, body = await self.ask("GET", f"/api/v2/integrations/{id_}")
            return body if body.get("reportedState", {}).get("code") == code else None

        return await until(reached, f"{id_} is {code}")

    async def gone(self, id_: str) -> None:
        async def missing() -> bool:
            return (await self.ask("GET", f"/api/v2/integrations/{id_}"))[0] == 404

        await until(missing, f"{id_} is gone")

    async def deliveries(self, count: int) -> list[tuple[Destination, Delivery]]:
        """Wait for so many."""
        await until(lambda: len(self.sink.delivered) >= count, f"{count} deliveries")
        return self.sink.delivered

    def source(self, suffix: str = "crm", account: str = "123456789012", region: str = "us-east-1") -> Destination:
        return Destination(account, region, f"aws.partner/genesys.com/cloud/acme/{suffix}")

    async def publish(self, *topics: str) -> None:
        """Offer notifications and wait until they are safe."""
        safe = asyncio.Event()

        async def acknowledge() -> None:
            safe.set()

        messages = [
            Message(topic, msgspec.json.encode({"topicName": topic, "version": "2", "eventBody": {"n": number}}))
            for number, topic in enumerate(topics)
        ]
        await self.intake.batches.put(IntakeBatch(messages, acknowledge))
        await safe.wait()


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    rigs: list[Rig] = []

    async def make(**settings: Any) -> Rig:
        rig = Rig(tmp_path, **settings)
        await rig.start()
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()


@pytest.fixture
async def rig(make_rig: Callable[..., Awaitable[Rig]]) -> Rig:
    return await make_rig()
