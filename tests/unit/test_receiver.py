"""The receiver with a scripted intake and a real spool: acknowledged means on disk, in every circumstance."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forwarder.errors import EndOfStream, SpoolError
from forwarder.intake.base import IntakeBatch, IntakeHealth, Message
from forwarder.receiver import PAUSE, Receiver
from forwarder.rules.routing_table import RoutingTable
from forwarder.spool.base import Record, Tally
from forwarder.spool.sqlite import SqliteSpool
from forwarder.topics import Catalogue
from tests.unit.scripted import open_spool
from tests.virtual_time import VirtualClock, in_virtual_time

pytestmark = pytest.mark.timeout(20)

GOOD = Message("v2.users.1.presence", b'{"eventBody":{"x":1.0}}')
OTHER = Message("v2.somewhere.else", b"{}")
MALFORMED = Message("v2.users.1.presence", b"no json")


class ScriptedIntake:
    """Hands over the batches that the test gives it; then waits, or ends."""

    name: ClassVar[str] = "scripted"
    acknowledges: ClassVar[bool] = True

    def __init__(self) -> None:
        self.batches: deque[Sequence[Message]] = deque()
        self.received = 0
        self.acknowledged = 0
        self.ends = False
        self.more = asyncio.Event()
        self.fault: Exception | None = None

    def give(self, *messages: Message) -> None:
        self.batches.append(messages)
        self.more.set()

    async def receive(self) -> IntakeBatch:
        while not self.batches:
            if self.ends:
                raise EndOfStream("that was all")
            self.more.clear()
            await self.more.wait()
        self.received += 1
        return IntakeBatch(self.batches.popleft(), self._acknowledge)

    async def _acknowledge(self) -> None:
        if self.fault:
            raise self.fault
        self.acknowledged += 1

    async def run(self) -> None:
        """Nothing to keep open."""

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """It has what the test gives it."""

    def health(self) -> IntakeHealth:
        return IntakeHealth(True, "scripted")

    async def close(self) -> None:
        """Nothing is open."""


class World:
    def __init__(self, spool: SqliteSpool) -> None:
        self.spool, self.intake = spool, ScriptedIntake()
        self.offered: list[tuple[int, Sequence[Record], int]] = []
        filters = dict.fromkeys(("a", "b"), ("v2.users.*.presence",))
        self.receiver = Receiver(
            self.intake,
            spool,
            VirtualClock(),
            table=RoutingTable.compile(filters, Catalogue.load()),
            offer=lambda first, records: self.offered.append((first, records, spool.tail)),
            event_id=False,
        )
        self.task = asyncio.create_task(self.receiver.run())
        self.append = spool.append

    def fail_appends(self, times: int) -> None:
        async def failing(records: Sequence[Record], tally: Tally) -> int:
            nonlocal times
            if times:
                times -= 1
                raise SpoolError("disk full")
            return await self.append(records, tally)

        self.spool.append = failing

    def hold_append(self) -> asyncio.Event:
        release = asyncio.Event()

        async def held(records: Sequence[Record], tally: Tally) -> int:
            await release.wait()
            return await self.append(records, tally)

        self.spool.append = held
        return release


@asynccontextmanager
async def world(path: Path) -> AsyncIterator[World]:
    spool = open_spool(path, VirtualClock())
    w = World(spool)
    try:
        yield w
    finally:
        w.task.cancel()
        with suppress(asyncio.CancelledError):
            await w.task
        await spool.close()


@in_virtual_time
async def test_a_batch_is_counted_stored_offered_and_acknowledged(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.intake.give(GOOD, MALFORMED, OTHER, GOOD)
        await asyncio.sleep(0.01)
        books = w.spool.books
        intake = books.intakes["scripted"]
        assert (intake.received, intake.malformed, intake.unmatched, intake.matched) == (4, 1, 1, 2)
        assert {name: lane.matched for name, lane in books.lanes.items()} == {"a": 2, "b": 2}
        ((first, records, tail),) = w.offered
        assert (first, len(records), tail) == (1, 2, 2)  # offered when durable
        assert json.loads(records[0].notification.detail)["eventBody"] == {"x": 1.0}
        assert w.intake.acknowledged == 1


@in_virtual_time
async def test_a_batch_with_nothing_to_keep_is_acknowledged_and_not_offered(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.intake.give(OTHER, MALFORMED)
        await asyncio.sleep(0.01)
        assert (w.intake.acknowledged, w.offered, w.spool.tail) == (1, [], 0)


@in_virtual_time
async def test_nothing_is_acknowledged_before_the_commit(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        release = w.hold_append()
        w.intake.give(GOOD)
        await asyncio.sleep(10)
        assert (w.intake.acknowledged, w.offered) == (0, [])
        passing = asyncio.create_task(w.receiver.pass_batch())
        matched_to = w.receiver.matched_to()
        await asyncio.sleep(1)
        assert (passing.done(), matched_to.done()) == (False, False)
        release.set()
        await passing
        assert await matched_to == await w.receiver.matched_to() == 1
        await asyncio.sleep(0.01)
        assert (w.intake.acknowledged, len(w.offered)) == (1, 1)


@in_virtual_time
async def test_while_the_spool_cannot_be_written_nothing_is_read_and_all_is_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.fail_appends(3)
        w.intake.give(GOOD)
        w.intake.give(GOOD)
        await asyncio.sleep(PAUSE)
        assert (w.intake.received, w.intake.acknowledged, w.receiver.trouble) == (1, 0, "disk full")
        await asyncio.sleep(4 * PAUSE)
        assert (w.intake.received, w.intake.acknowledged, w.receiver.trouble) == (2, 2, None)
        assert w.spool.books.intakes["scripted"].matched == 2


@in_virtual_time
async def test_a_full_spool_stops_the_reading_until_there_is_room(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.intake.give(GOOD)
        await asyncio.sleep(0.01)
        w.spool._max_bytes = 0
        w.intake.give(GOOD)  # one receive was under way
        w.intake.give(GOOD)
        await asyncio.sleep(5)
        assert (w.intake.received, w.intake.acknowledged) == (2, 2)
        assert "FORWARDER_SPOOL_MAX_BYTES" in (w.receiver.trouble or "")
        w.spool._max_bytes = 1 << 30
        await asyncio.sleep(PAUSE)
        assert (w.intake.received, w.intake.acknowledged, w.receiver.trouble) == (3, 3, None)


@in_virtual_time
async def test_nothing_is_read_while_it_is_not_known_whom_it_is_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.receiver.hold = "the integrations could not be read"
        w.intake.give(GOOD)
        await asyncio.sleep(5)
        assert (w.intake.received, w.receiver.trouble) == (0, "the integrations could not be read")
        w.receiver.hold = None
        await asyncio.sleep(PAUSE)
        assert (w.intake.acknowledged, w.receiver.trouble) == (1, None)


@in_virtual_time
async def test_it_returns_at_the_end_of_the_stream(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.intake.ends = True
        w.intake.give(GOOD)
        await w.task
        assert w.intake.acknowledged == 1
        w.receiver.stop()  # too late, and harmless


@in_virtual_time
async def test_stopping_while_it_waits_for_a_message(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await asyncio.sleep(0.01)
        w.receiver.stop()
        w.receiver.stop()
        await w.task


@in_virtual_time
async def test_stopping_while_it_waits_for_room(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.spool._max_bytes = 0
        await asyncio.sleep(1)
        assert w.receiver.trouble
        w.receiver.stop()
        await w.task
        assert w.intake.received == 0


@in_virtual_time
async def test_stopping_with_a_batch_at_hand_finishes_it_and_takes_no_more(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        release = w.hold_append()
        w.intake.give(GOOD)
        w.intake.give(GOOD)
        await asyncio.sleep(0.01)
        w.receiver.stop()
        await asyncio.sleep(1)
        assert not w.task.done()
        release.set()
        await w.task
        assert (w.intake.received, w.intake.acknowledged, len(w.offered)) == (1, 1, 1)


@in_virtual_time
async def test_a_cancelled_append_is_not_acknowledged(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.hold_append()
        w.intake.give(GOOD)
        await asyncio.sleep(0.01)
        matched_to = w.receiver.matched_to()
        w.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await w.task
        assert (w.intake.acknowledged, matched_to.cancelled()) == (0, True)
        await w.receiver.pass_batch()  # nobody waits for a batch that is gone


@in_virtual_time
async def test_an_intake_that_cannot_acknowledge_does_not_stop_the_stream(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.intake.fault = ConnectionError("gone")
        w.intake.give(GOOD)
        await asyncio.sleep(0.01)
        w.intake.fault = None
        w.intake.give(GOOD)
        await asyncio.sleep(0.01)
        assert w.intake.acknowledged == 1
        assert w.spool.books.intakes["scripted"].matched == 2


@in_virtual_time
async def test_cancelled_at_any_await_it_has_acknowledged_no_more_than_is_stored(tmp_path: Path) -> None:
    """Cancel after one turn of the loop, after two, after three and so on, until it comes through."""
    for turns in range(200):
        async with world(tmp_path / str(turns)) as w:
            w.intake.give(GOOD)
            for _ in range(turns):
                await asyncio.sleep(0)
            w.task.cancel()
            await asyncio.wait([w.task])
            intakes: dict[str, Any] = w.spool.books.intakes
            await w.append([], Tally("after", 0, 0, 0))
            stored = intakes["scripted"].matched if "scripted" in intakes else 0
            assert w.intake.acknowledged <= stored <= w.intake.received
            if w.intake.acknowledged:
                return
    raise AssertionError("it never came through")
