"""What every spool engine must do. A test module inherits from `SpoolConformance` and gives it the fixture `spool`, an
empty engine, and `reopen`, which closes an engine and opens it again on the same state."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from forwarder.errors import SpoolError
from forwarder.model import Delivery, Notification, Reason, Route
from forwarder.spool.base import (
    END,
    DeadLetter,
    DeadLetterFilter,
    LanePosition,
    Parked,
    Record,
    Run,
    Settlement,
    Spool,
    Tally,
)

NOW = 1_800_000_000.0

Reopen = Callable[[Any], Awaitable[Any]]  # the engine's own type: the suite knows only the protocol


def record(name: str, *lanes: str, size: int = 8) -> Record:
    return Record(Notification(name, f"v2.{name}", b"d" * size, 1_700_000_000, NOW), Route("v2.type", lanes or ("a",)))


async def append(spool: Spool, names: Iterable[str], *lanes: str, size: int = 8) -> int:
    records = [record(name, *lanes, size=size) for name in names]
    return await spool.append(records, Tally("test", 0, 0, len(records)))


async def read_all(spool: Spool, lane: str = "a") -> list[Delivery]:
    """All that the lane has not finished in the log."""
    place, found = await spool.enlist(lane), list[Delivery]()
    after = place.position
    while after < spool.tail:
        page = await spool.read(lane, place.next_gap(after), 100)
        found += page.deliveries
        after = page.scanned_to
    return found


async def parked(spool: Spool, lane: str = "a", due_by: float = float("inf")) -> list[str]:
    return [each.notification.id for each in (await spool.read_parked(lane, due_by, 1000))[0]]


async def trim_all(spool: Spool) -> None:
    while await spool.trim():
        pass


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    return [each.notification.id for each in deliveries]


def park(delivery: Delivery, retry_at: float) -> Parked:
    tried = Delivery(
        delivery.seq, delivery.notification, delivery.integration_id, delivery.detail_type, delivery.attempts + 1
    )
    return Parked(tried, retry_at, Reason.ENTRY_INTERNAL, "InternalException")


def dead(delivery: Delivery, reason: Reason = Reason.REFUSED, at: float = NOW) -> DeadLetter:
    return DeadLetter(delivery, reason, "InvalidArgument", "not so", at)


async def check_books(spool: Spool) -> None:
    """What the books call pending is what is there to be read."""
    for lane in await spool.lanes():
        assert spool.books.lanes[lane].pending == len(await read_all(spool, lane)) + len(await parked(spool, lane))
    assert not await spool.verify()


class SpoolConformance:
    """See above."""

    async def test_what_is_appended_is_read_by_the_lanes_it_is_for(self, spool: Spool) -> None:
        assert await append(spool, ["x", "y"], "a", "b") == 1
        assert await append(spool, ["z"], "b") == 3
        first = (await read_all(spool, "a"))[0]
        assert first == Delivery(1, record("x").notification, "a", "v2.type", 0)
        assert ids(await read_all(spool, "a")) == ["x", "y"]
        assert ids(await read_all(spool, "b")) == ["x", "y", "z"]
        assert spool.tail == 3
        await check_books(spool)

    async def test_a_new_lane_starts_at_the_tail(self, spool: Spool) -> None:
        await append(spool, ["x"], "a")
        assert await spool.enlist("late") == LanePosition(1)
        assert await spool.enlist("a") == LanePosition(0)
        await append(spool, ["y"], "late")
        assert ids(await read_all(spool, "late")) == ["y"]
        assert sorted(await spool.lanes()) == ["a", "late"]

    async def test_a_read_stops_at_its_limits_and_says_how_far_it_looked(self, spool: Spool) -> None:
        await append(spool, map(str, range(10)), "a")
        page = await spool.read("a", (3, 8), 4)
        assert ([each.seq for each in page.deliveries], page.scanned_to) == ([3, 4, 5, 6], 6)
        page = await spool.read("a", (7, 8), 4)
        assert ([each.seq for each in page.deliveries], page.scanned_to) == ([7, 8], 8)
        page = await spool.read("a", (11, END), 4)
        assert (page.deliveries, page.scanned_to) == ([], 10)

    async def test_one_read_returns_bounded_bytes_and_passes_over_bounded_rows(self, spool: Spool) -> None:
        await append(spool, map(str, range(5)), "a", size=1 << 20)
        assert len((await spool.read("a", (1, END), 100)).deliveries) < 5
        assert len(await read_all(spool)) == 5
        await append(spool, map(str, range(9_000)), "b")
        page = await spool.read("a", (6, END), 100)
        assert page.deliveries == []
        assert 5 < page.scanned_to < 9_005
        assert len(await read_all(spool)) == 5

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    async def test_calls_settle_in_any_order(self, spool: Spool, reopen: Reopen, order: tuple[int, ...]) -> None:
        await append(spool, map(str, range(9)), "a")
        left = set(range(9))
        for call in order:
            run: Run = (call * 3 + 1, call * 3 + 3)
            await spool.settle(Settlement("a", run, delivered=3))
            left -= set(range(call * 3, call * 3 + 3))
            assert ids(await read_all(spool)) == [str(each) for each in sorted(left)]
            await check_books(spool)
            spool = await reopen(spool)
        assert await spool.enlist("a") == LanePosition(9)
        assert (await append(spool, ["next"])) == 10

    async def test_parked_entries_come_back_when_they_are_due(self, spool: Spool, reopen: Reopen) -> None:
        await append(spool, ["x", "y", "z"])
        x, y, z = await read_all(spool)
        parking = [park(x, NOW + 3), park(y, NOW + 1), park(z, NOW + 2)]
        await spool.settle(Settlement("a", (1, 3), parked=parking, retried={Reason.ENTRY_INTERNAL: 3}))
        await check_books(spool)
        spool = await reopen(spool)
        assert await spool.read_parked("a", NOW, 10) == ([], NOW + 1)
        due, following = await spool.read_parked("a", NOW + 2, 10)
        assert (ids(due), following, due[0].attempts) == (["y", "z"], NOW + 3, 1)
        assert await parked(spool, due_by=NOW + 9) == ["y", "z", "x"]
        one, following = await spool.read_parked("a", NOW + 9, 1)
        assert (ids(one), following) == (["y"], NOW + 2)
        again = Settlement("a", None, delivered=1, parked=[park(due[1], NOW + 9)], unparked=[due[0].seq, due[1].seq])
        await spool.settle(again)
        assert await parked(spool) == ["x", "z"]
        assert spool.books.lanes["a"].retried == {Reason.ENTRY_INTERNAL: 3}
        await check_books(spool)

    async def test_bury_takes_the_log_and_the_parked(self, spool: Spool) -> None:
        await append(spool, map(str, range(1_500)), "a", "b")
        page = await spool.read("a", (1, END), 3)
        await spool.settle(Settlement("a", (1, 3), delivered=2, parked=[park(page.deliveries[0], NOW)]))
        await spool.settle(Settlement("a", (10, 19), delivered=10))
        assert await spool.bury("a", Reason.SOURCE_REPLACED, "moved") == 1_488
        assert await spool.bury("a", Reason.SOURCE_REPLACED, "moved") == 0
        assert spool.books.lanes["a"].dead_lettered == {Reason.SOURCE_REPLACED: 1_488}
        assert spool.books.lanes["a"].pending == 0
        assert spool.books.lanes["b"].pending == 1_500
        row = (await spool.dead_letters(DeadLetterFilter(integration_id="a"), limit=1))[0]
        assert (row.letter.message, row.letter.delivery.attempts) == ("moved", 1)
        await check_books(spool)

    async def test_bury_leaves_what_came_after_a_place_in_the_log(self, spool: Spool, reopen: Reopen) -> None:
        await append(spool, map(str, range(1, 13)), "a", "b")
        old, *_, new = await read_all(spool, "a")
        await spool.settle(Settlement("a", (1, 1), parked=[park(old, NOW + 9)]))
        await spool.settle(Settlement("a", (12, 12), parked=[park(new, NOW)]))
        await spool.settle(Settlement("a", (5, 6), delivered=2))
        assert await spool.bury("a", Reason.SOURCE_REPLACED, "moved", up_to=8) == 6
        await check_books(spool)
        spool = await reopen(spool)
        assert ids(await read_all(spool, "a")) == ["9", "10", "11"]
        assert await parked(spool) == ["12"]
        assert spool.books.lanes["a"].dead_lettered == {Reason.SOURCE_REPLACED: 6}
        assert len(await read_all(spool, "b")) == 12
        assert await spool.bury("a", Reason.SOURCE_REPLACED, "moved", up_to=8) == 0

    async def test_it_tells_for_whom_there_is_no_lane_before_an_append_fails(
        self, spool: Spool, reopen: Reopen
    ) -> None:
        assert spool.placeless(["new", "newer"]) == []
        places = 0
        while not spool.placeless(["new"]):
            places += 1
            await append(spool, [f"for {places}"], f"lane{places}")
        spool = await reopen(spool)
        assert spool.placeless(["lane1", "new", "newer"]) == ["new", "newer"]
        with pytest.raises(SpoolError):
            await append(spool, ["lost"], "new")
        await spool.bury("lane1", Reason.INTEGRATION_DELETED, "gone")
        await spool.forget("lane1")
        assert spool.placeless(["lane2", "new", "newer"]) == ["newer"]
        await append(spool, ["kept"], "new")
        assert spool.placeless(["lane2", "new", "newer"]) == ["newer"]

    async def test_a_forgotten_lane_comes_back_at_the_tail_with_its_counters(self, spool: Spool) -> None:
        await append(spool, ["x"], "a", "b")
        await spool.settle(Settlement("a", (1, 1), delivered=1))
        await spool.forget("a")
        assert await spool.lanes() == ["b"]
        await append(spool, ["y"], "a")
        await append(spool, ["z"], "c")  # may get the place that `a` had
        assert ids(await read_all(spool, "a")) == ["y"]
        assert ids(await read_all(spool, "c")) == ["z"]
        assert spool.books.lanes["a"].matched == 2

    async def test_trim_deletes_what_all_have_finished_and_nothing_else(self, spool: Spool) -> None:
        await append(spool, map(str, range(2_500)), "a", "b")
        await spool.settle(Settlement("a", (1, 2_500), delivered=2_500))
        await trim_all(spool)
        await spool.settle(Settlement("b", (11, 2_500), delivered=2_490))
        await trim_all(spool)
        assert len(await read_all(spool, "b")) == 10
        await spool.settle(Settlement("b", (1, 9), delivered=9))
        await trim_all(spool)
        assert ids(await read_all(spool, "b")) == ["9"]
        used = (await spool.usage()).bytes_used
        await spool.settle(Settlement("b", (10, 10), delivered=1))
        await trim_all(spool)
        assert (await spool.usage()).bytes_used < used
        assert await append(spool, ["next"]) == 2_501

    async def test_what_one_lane_has_pending_keeps_no_rows_of_others(self, spool: Spool, reopen: Reopen) -> None:
        await append(spool, ["stuck"], "a", "b")
        for number in range(3):
            await append(spool, map(str, range(1_500)), "b", size=1_000)
            await append(spool, [f"also stuck {number}"], "a")
            await spool.settle(Settlement("b", (1, spool.tail), delivered=1_500))
            await trim_all(spool)
        assert (await spool.usage()).bytes_used < 1_000_000  # of 4.5 MB
        assert ids(await read_all(spool, "a")) == ["stuck", *(f"also stuck {number}" for number in range(3))]
        spool = await reopen(spool)
        assert len(await read_all(spool, "a")) == 4
        await append(spool, map(str, range(2_100)), "b", "c")
        await spool.settle(Settlement("b", (1, spool.tail), delivered=2_100))
        await trim_all(spool)  # of two that lag behind, each keeps its own
        assert len(await read_all(spool, "c")) == 2_100
        await spool.settle(Settlement("a", (1, spool.tail), delivered=4))
        await spool.settle(Settlement("c", (1, spool.tail), delivered=2_100))
        await trim_all(spool)
        assert (await spool.usage()).bytes_used < 200_000

    async def test_a_lane_with_anything_pending_is_not_forgotten(self, spool: Spool) -> None:
        await append(spool, ["x"], "a")
        await spool.forget("a")
        assert ids(await read_all(spool, "a")) == ["x"]
        await spool.settle(Settlement("a", (1, 1), parked=[park((await read_all(spool, "a"))[0], NOW)]))
        await spool.forget("a")
        assert await parked(spool) == ["x"]

    async def test_no_retry_waits_beyond_what_the_clock_says_now(self, spool: Spool) -> None:
        await append(spool, ["x", "y"], "a")
        x, y = await read_all(spool, "a")
        await spool.settle(Settlement("a", (1, 2), parked=[park(x, NOW + 86_400), park(y, NOW + 5)]))
        await spool.retry_by(NOW + 300)
        assert await parked(spool, due_by=NOW + 5) == ["y"]
        assert await parked(spool, due_by=NOW + 300) == ["y", "x"]

    async def test_dead_letters_are_listed_by_filter(self, spool: Spool) -> None:
        await append(spool, ["x", "y"], "a")
        await append(spool, ["z"], "b")
        x, y = await read_all(spool, "a")
        (z,) = await read_all(spool, "b")
        letters = [dead(x), dead(y, Reason.OVERSIZE, NOW - 100)]
        await spool.settle(Settlement("a", (1, 2), dead=letters))
        await spool.settle(Settlement("b", (3, 3), dead=[dead(z)]))

        async def found(**which: Any) -> list[str]:  # a filter's fields
            counted = await spool.count_dead_letters(DeadLetterFilter(**which))
            assert counted == len(await spool.dead_letters(DeadLetterFilter(**which)))
            rows = await spool.dead_letters(DeadLetterFilter(**which))
            return [row.letter.delivery.notification.id for row in rows]

        rows = await spool.dead_letters(DeadLetterFilter())
        assert [row.letter for row in rows] == [*letters, dead(z)]
        assert await spool.dead_letters(DeadLetterFilter(), after=rows[0].id, limit=1) == rows[1:2]
        assert await found(integration_id="b") == ["z"]
        assert await found(reason=Reason.OVERSIZE) == ["y"]
        assert await found(older_than=50.0) == ["y"]
        assert await found(ids=(rows[0].id, rows[2].id)) == ["x", "z"]
        assert await spool.purge(DeadLetterFilter(integration_id="a")) == 2
        assert await found() == ["z"]
        assert spool.books.lanes["a"].dead_lettered == {Reason.REFUSED: 1, Reason.OVERSIZE: 1}
        await check_books(spool)

    async def test_redriven_letters_are_parked_due_now_and_matched_once_more(
        self, spool: Spool, reopen: Reopen
    ) -> None:
        await append(spool, ["x", "y"])
        x, y = await read_all(spool)
        await spool.settle(Settlement("a", (1, 2), dead=[dead(x), dead(y, Reason.OVERSIZE)]))
        assert await spool.redrive(DeadLetterFilter(reason=Reason.REFUSED)) == 1
        due, _ = await spool.read_parked("a", NOW, 10)
        assert ids(due) == ["x"]
        assert due[0].notification.detail == x.notification.detail
        books = spool.books.lanes["a"]
        assert (books.matched, books.pending) == (3, 1)
        await check_books(spool)
        await spool.settle(Settlement("a", None, delivered=1, unparked=[due[0].seq]))
        await spool.settle(Settlement("a", (3, spool.tail)))  # the number that it had, passed over in the log
        spool = await reopen(spool)
        await append(spool, ["new"])
        assert ids(await read_all(spool)) == ["new"]  # and not taken for finished
        await check_books(spool)

    async def test_counters_are_those_of_the_commits_after_reopening(self, spool: Spool, reopen: Reopen) -> None:
        await spool.append([record("x")], Tally("mqtt", 3, 4, 1))
        await spool.append([], Tally("file", 1, 0, 0))
        await spool.settle(Settlement("a", None, retried={Reason.TIMEOUT: 2}))
        await spool.settle(Settlement("a", (1, 1), expired=1))
        before = spool.books
        spool = await reopen(spool)
        assert spool.books == before
        assert spool.books.intakes["mqtt"].received == 8
        assert spool.books.lanes["a"].expired == 1

    async def test_writes_asked_together_are_all_made_in_order(self, spool: Spool) -> None:
        firsts = await asyncio.gather(*(append(spool, [str(each)]) for each in range(50)))
        assert firsts == list(range(1, 51))
        assert ids(await read_all(spool)) == [str(each) for each in range(50)]

    async def test_a_cancelled_append_stands_once_or_not_at_all(self, spool: Spool, reopen: Reopen) -> None:
        tasks = [asyncio.create_task(append(spool, [str(each)])) for each in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await append(spool, ["last"])
        assert ids(await read_all(spool)) == [*map(str, range(5)), "last"]
        await check_books(spool)
        await check_books(await reopen(spool))
