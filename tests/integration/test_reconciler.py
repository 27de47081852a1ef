"""The reconciler with a real record on disk, the real spool, and the emulator behind aiobotocore."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from forwarder.aws import AwsSession
from forwarder.clock import SystemClock
from forwarder.emulator.http import Emulator
from forwarder.emulator.sources import SourceState
from forwarder.model import (
    Destination,
    Integration,
    IntegrationStatus,
    IntendedState,
    Notification,
    Reason,
    Route,
    State,
)
from forwarder.partner_sources import PartnerSources
from forwarder.reconciler import Reconciler
from forwarder.record import MAX_INTEGRATIONS, LifecycleRecord, RecordError
from forwarder.rules.lifecycle import Recorded, Standing
from forwarder.spool.base import Record, Tally
from forwarder.spool.sqlite import SqliteSpool

CRM = Integration("crm", "CRM", "", "123456789012", "us-east-1", "crm", ("v2.#",), IntendedState.ENABLED)
MOVED = replace(CRM, region="eu-central-1")


def destination_of(of: Integration) -> Destination:
    return Destination(of.account_id, of.region, f"aws.partner/example.com/org/{of.event_source_suffix}")


class Daemon:
    """As much of one as the reconciler needs."""

    def __init__(self, state_dir: Path) -> None:
        self.session = AwsSession()
        self.spool = SqliteSpool(
            state_dir,
            max_bytes=1 << 30,
            max_dead_letters=100,
            dead_letter_retention=3600,
            clock=SystemClock(),
        )
        self.statuses: dict[str, IntegrationStatus] = {}
        self._changed = asyncio.Event()
        self.reconciler = Reconciler(
            sources=PartnerSources(self.session),
            spool=self.spool,
            record=LifecycleRecord(state_dir / "lifecycle.json"),
            clock=SystemClock(),
            random=random.random,
            destination_of=destination_of,
            on_status=self._take,
            matched_to=self._matched_to,
            without_lane=self._without_lane,
            poll_seconds=0.05,
        )
        self._task = asyncio.create_task(self.reconciler.run())

    def _take(self, statuses: tuple[IntegrationStatus, ...]) -> None:
        self.statuses = {status.integration.id: status for status in statuses}
        self._changed.set()

    def _matched_to(self) -> asyncio.Future[int]:
        known = asyncio.get_running_loop().create_future()
        known.set_result(self.spool.tail)
        return known

    @asynccontextmanager
    async def _without_lane(self, integration_id: str) -> AsyncIterator[None]:
        assert not self.statuses[integration_id].sends
        yield

    async def until(self, condition: Callable[[dict[str, IntegrationStatus]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(self.statuses):
                self._changed.clear()
                await self._changed.wait()

    async def until_state(self, state: State) -> None:
        await self.until(lambda statuses: statuses["crm"].state is state)

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.spool.close()
        await self.session.close()


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Emulator]:
    async with Emulator(credentials={"test": "test"}, other_calls_per_second=None) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield running


def sources(emulator: Emulator) -> set[tuple[str, str]]:
    return {
        (region, source.name)
        for region, source in emulator.state.sources(SystemClock().now())
        if source.state is not SourceState.DELETED
    }


async def append(spool: SqliteSpool, count: int) -> None:
    await spool.enlist("crm")
    notifications = [Notification(str(n), "v2.users.1.presence", b"{}", 1, SystemClock().now()) for n in range(count)]
    route = Route("v2.users.{id}.presence", ("crm",))
    await spool.append([Record(notification, route) for notification in notifications], Tally("file", 0, 0, count))


async def test_a_whole_life(emulator: Emulator, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.reconciler.desire({"crm": CRM})
    await daemon.until_state(State.ACTIVE)
    assert sources(emulator) == {("us-east-1", "aws.partner/example.com/org/crm")}
    await daemon.until(lambda statuses: "PENDING" in statuses["crm"].reason)
    emulator.state.set_source_state("us-east-1", "aws.partner/example.com/org/crm", SourceState.ACTIVE, 0.0)
    await daemon.until(lambda statuses: statuses["crm"].reason == "events flow")
    await append(daemon.spool, 3)

    daemon.reconciler.desire({"crm": MOVED})
    assert daemon.statuses["crm"].state is State.INACTIVE
    await daemon.reconciler.request_activation("crm")
    await daemon.until_state(State.ACTIVE)
    assert sources(emulator) == {("eu-central-1", "aws.partner/example.com/org/crm")}
    assert daemon.spool.books.lanes["crm"].dead_lettered == {Reason.SOURCE_REPLACED: 3}

    await append(daemon.spool, 2)
    await daemon.reconciler.request_deletion("crm")
    daemon.reconciler.desire({})
    await daemon.until(lambda statuses: statuses == {})
    assert sources(emulator) == set()
    assert daemon.spool.books.lanes["crm"].dead_lettered[Reason.INTEGRATION_DELETED] == 2
    assert "crm" not in await daemon.spool.lanes()
    await daemon.stop()
    assert LifecycleRecord(tmp_path / "lifecycle.json").load() == {}


async def test_a_restart_remembers(emulator: Emulator, tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    first.reconciler.desire({"crm": CRM})
    await first.until_state(State.ACTIVE)
    first.reconciler.desire({"crm": MOVED})
    await first.reconciler.request_activation("crm")
    await first.stop()  # in the middle of the replacement

    await emulator.stop()
    second = Daemon(tmp_path)
    second.reconciler.desire({"crm": MOVED})
    assert second.statuses["crm"].state is State.ACTIVATING
    await second.until(lambda statuses: "trying again" in statuses["crm"].reason)
    await emulator.start()
    await second.until_state(State.ACTIVE)
    assert sources(emulator) == {("eu-central-1", "aws.partner/example.com/org/crm")}
    await second.stop()


def recorded(integration: Integration = CRM) -> Recorded:
    where = destination_of(integration)
    return Recorded(integration, Standing.ACTIVE, target=where, source=where, created_at=1.5, pending_for=where)


class TestTheRecord:
    async def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "var" / "lifecycle.json"
        assert LifecycleRecord(path).load() == {}
        record = LifecycleRecord(path)
        await record.save({"crm": recorded()})
        assert record.holds({"crm": recorded()})
        assert LifecycleRecord(path).load() == {"crm": recorded()}
        assert [child.name for child in path.parent.iterdir()] == ["lifecycle.json"]

    @pytest.mark.parametrize(
        "garbage",
        [
            b"",
            b"{",
            b"\0\0\0\0",
            b"[]",
            b'{"schema_version":1}',
            b'{"schema_version":1,"integrations":{"crm":{"standing":"NOPE"}}}',
        ],
    )
    def test_is_moved_aside_when_it_is_corrupt(self, tmp_path: Path, garbage: bytes) -> None:
        path = tmp_path / "lifecycle.json"
        path.write_bytes(garbage)
        with capture_logs() as lines:
            assert LifecycleRecord(path).load() == {}
        [aside] = tmp_path.iterdir()
        assert aside.read_bytes() == garbage
        assert lines[0]["event"] == "lifecycle_record_quarantined"
        assert lines[0]["moved_to"] == str(aside)

    def test_of_a_newer_version_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "lifecycle.json"
        path.write_bytes(b'{"schema_version":2,"something":"else"}')
        with pytest.raises(RecordError, match="newer version"):
            LifecycleRecord(path).load()
        assert path.exists()

    async def test_that_cannot_be_written_stays_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "lifecycle.json"
        record = LifecycleRecord(path)
        await record.save({"crm": recorded()})
        (tmp_path / "lifecycle.json.new").mkdir()
        with pytest.raises(RecordError, match="cannot write the lifecycle record"):
            await record.save({"crm": recorded(MOVED)})
        assert record.holds({"crm": recorded()})
        assert LifecycleRecord(path).load() == {"crm": recorded()}

    async def test_does_not_grow_for_ever(self, tmp_path: Path) -> None:
        many = {str(n): recorded() for n in range(MAX_INTEGRATIONS + 1)}
        with pytest.raises(RecordError, match="delete those whose files are gone"):
            await LifecycleRecord(tmp_path / "lifecycle.json").save(many)
