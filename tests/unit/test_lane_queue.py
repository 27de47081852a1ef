"""The queue of one lane over a real spool: the stretches of its calls tile the log, whatever comes between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.calls import Call
from forwarder.errors import SpoolError
from forwarder.lane_queue import BUFFER_ENTRIES, LaneQueue
from forwarder.model import Delivery, Reason, Route
from forwarder.rules.batching import CallLimits
from forwarder.rules.retention import Retention
from forwarder.spool.base import Parked, Record, Settlement, Tally
from forwarder.spool.sqlite import SqliteSpool
from tests.unit.scripted import notification, open_spool
from tests.virtual_time import EPOCH, VirtualClock, in_virtual_time

NOW, RETENTION = EPOCH, 100.0


class World:
    def __init__(self, spool: SqliteSpool) -> None:
        self.spool = spool
        self.queue = self.new_queue()
        self.names = 0

    def new_queue(self) -> LaneQueue:
        return LaneQueue("a", self.spool, limits=CallLimits(5, 1_000), retention=Retention(RETENTION))

    async def append(self, count: int, lane: str = "a", *, at: float = NOW, offer: bool = True) -> list[Delivery]:
        records = [Record(notification(f"e{self.names + each}", at), Route("type", (lane,))) for each in range(count)]
        self.names += count
        first = await self.spool.append(records, Tally("test", 0, 0, count))
        its = [Delivery(first + n, each.notification, "a", "type") for n, each in enumerate(records) if lane == "a"]
        if offer:
            self.queue.offer(first, first + count - 1, its)
        return its

    def take(self, now: float = NOW) -> Call:
        call = self.queue.take(now, size=lambda _: 1, fault=lambda _: None)
        assert call
        return call


@asynccontextmanager
async def world(path: Path) -> AsyncIterator[World]:
    spool = open_spool(path, VirtualClock())
    w = World(spool)
    await w.queue.open()
    yield w
    await spool.close()


@in_virtual_time
async def test_what_is_offered_before_it_is_open_is_left_to_the_log(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.queue = w.new_queue()
        its = await w.append(3)
        assert (w.queue.waiting, w.queue.finished) == (0, False)
        await w.queue.open()
        await w.queue.refill(NOW)
        assert w.take().send == its


@in_virtual_time
async def test_rows_of_others_belong_to_the_stretch_before_them(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.append(7, "other")
        its = await w.append(6)
        await w.append(4, "other")
        first, second = w.take(), w.take()
        assert (first.send, first.stretch) == (its[:5], (1, 12))
        assert (second.send, second.stretch) == (its[5:], (13, 17))
        assert w.queue.take(NOW, size=len, fault=lambda _: None) is None  # type: ignore[arg-type]  # nothing is measured


@in_virtual_time
async def test_memory_is_bounded_and_the_rest_is_read_later(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for _ in range(30):
            await w.append(100)
        assert w.queue.waiting <= BUFFER_ENTRIES
        taken: list[Delivery] = []
        while len(taken) < 3_000:
            await w.queue.refill(NOW)
            assert w.queue.waiting <= BUFFER_ENTRIES
            taken += w.take().send
        assert [each.seq for each in taken] == list(range(1, 3_001))


@in_virtual_time
async def test_it_goes_on_where_calls_had_ended_out_of_order(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.append(20)
        calls = [w.take() for _ in range(4)]
        for call in (calls[1], calls[3]):
            await w.spool.settle(Settlement("a", call.stretch, delivered=5))
        w.queue = w.new_queue()
        await w.queue.open()
        await w.queue.refill(NOW)
        again = [w.take(), w.take()]
        assert [each.seq for call in again for each in call.send] == [*range(1, 6), *range(11, 16)]
        for call in again:
            await w.spool.settle(Settlement("a", call.stretch, delivered=5))
        assert (await w.spool.enlist("a")).position == 20
        assert w.queue.finished


@in_virtual_time
async def test_a_call_that_is_put_back_comes_first_without_what_has_expired(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        old, new = await w.append(2, at=NOW), await w.append(2, at=NOW + 50)
        call = w.take()
        more = await w.append(1, at=NOW + 50)
        w.queue.put_back(call)
        assert w.queue.full()
        assert w.queue.until_expiry(NOW + 99) == 1.0
        again = w.take(NOW + 100)
        assert (again.send, again.expired, again.stretch) == (new, old, call.stretch)
        assert w.take(NOW + 100).send == more


@in_virtual_time
async def test_what_has_expired_is_found_behind_what_has_not(tmp_path: Path) -> None:
    """Calls to be made again in any order, entries that were parked, and new ones."""
    async with world(tmp_path) as w:
        await w.append(5, at=NOW)
        await w.append(5, at=NOW + 50)
        (old, young) = w.take(), w.take()
        await w.append(1, at=NOW)
        w.queue.put_back(young, old)
        now = NOW + RETENTION
        assert w.queue.until_expiry(now) <= 0
        first, second = w.queue.take_expired(now), w.queue.take_expired(now)
        assert first
        assert second
        assert (first.stretch, len(first.expired), first.send) == (old.stretch, 5, [])
        assert len(second.expired) == 1
        assert w.queue.until_expiry(now) == 50
        assert w.queue.take_expired(now) is None
        assert w.take(now).send == young.send


@given(st.floats(0, 1), st.floats(0, 1e6), st.sampled_from([-2e-7, 0.0, 2e-7, 1.0]))
def test_until_expiry_and_take_expired_never_disagree(received: float, retention: float, late: float) -> None:
    """However the numbers round: else the lane would take nothing, wait for nothing, and spin."""
    queue = LaneQueue("a", None, limits=CallLimits(1, 1), retention=Retention(retention))  # type: ignore[arg-type]  # not asked
    queue._add([Delivery(1, notification("x", NOW + received), "a", "type")], 1)
    now = NOW + received + retention + late
    due = queue.until_expiry(now) <= 0
    assert bool(queue.take_expired(now)) == due


@in_virtual_time
async def test_a_parked_entry_is_not_forgotten_when_it_cannot_be_read(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        (delivery,) = await w.append(1)
        call = w.take()
        tried = Delivery(1, delivery.notification, "a", "type", 1)
        parked = Parked(tried, NOW + 5, Reason.ENTRY_INTERNAL, "Code")
        await w.spool.settle(Settlement("a", call.stretch, parked=[parked]))
        w.queue.note_parked(parked.retry_at)
        assert w.queue.next_parked() == NOW + 5

        read = w.spool.read_parked
        reading = asyncio.Event()

        async def broken(*_: object) -> tuple[list[Delivery], None]:
            await reading.wait()
            raise SpoolError("not now")

        w.spool.read_parked = broken  # type: ignore[assignment]  # it answers nothing
        refill = asyncio.create_task(w.queue.refill(NOW + 5))
        await asyncio.sleep(0.001)
        assert not w.queue.finished  # though it is neither in the table's schedule nor in memory
        reading.set()
        with pytest.raises(SpoolError):
            await refill
        w.spool.read_parked = read
        await w.queue.refill(NOW + 5)
        assert w.take().send == [tried]
        assert w.queue.next_parked() is None
        assert not w.queue.finished  # it is still in the table
        w.queue.settled(Call([tried], [], [], None))
        assert w.queue.finished
