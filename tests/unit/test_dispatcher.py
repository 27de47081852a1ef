"""The lanes together: nobody waits for a neighbour, everybody catches up, nothing is sent twice without a reason."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from forwarder.errors import PutError, SpoolError
from forwarder.model import Delivery, Destination, EntryResult, Reason
from forwarder.spool.base import DeadLetterFilter, Page, Run
from tests.unit.scripted import ACCEPTED, LINGER, PERMANENT, RETENTION, RETRY, World, status, world
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.timeout(20)


@in_virtual_time
async def test_each_lane_gets_its_own_in_order(tmp_path: Path) -> None:
    async with world(tmp_path, status("a"), status("b", "eu-west-1")) as w:
        both, only_b = await w.append(3, "a", "b"), await w.append(2, "b")
        await w.idle()
        assert w.sink.sent("a") == both
        assert w.sink.sent("b") == both + only_b
        assert {to.region for to, _ in w.sink.calls} == {"us-east-1", "eu-west-1"}


@in_virtual_time
async def test_a_lane_whose_calls_hang_does_not_slow_its_neighbour(tmp_path: Path) -> None:
    async with world(tmp_path, status("sick"), status("well"), ceiling=4) as w:

        async def answer(to: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
            return await (w.sink.hang if "sick" in to.event_source_name else w.sink.accept)(to, deliveries)

        w.sink.answer = answer
        await w.append(100, "sick")
        await w.until(lambda: w.gate("us-east-1").view().in_flight == 4)
        for _ in range(5):
            began = w.clock.monotonic()
            await w.append(3, "well")
            await w.until(lambda: w.books("well").pending == 0, within=1)
            assert w.clock.monotonic() - began <= 2 * LINGER
        assert w.books("sick").pending == 100


@in_virtual_time
async def test_a_lane_that_is_behind_reads_the_log_and_is_then_fed_from_memory(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        ids = await w.append(1200, offer=False)
        w.dispatcher.look()
        await w.until(lambda: len(w.sink.sent()) > 600)
        ids += await w.append(10)
        await w.idle()
        assert w.sink.sent() == ids

        reads = 0
        read = w.spool.read

        async def counted(integration_id: str, run: Run, limit: int) -> Page:
            nonlocal reads
            reads += 1
            return await read(integration_id, run, limit)

        w.spool.read = counted
        ids += await w.append(10)
        await w.idle()
        assert (w.sink.sent(), reads) == (ids, 0)


@in_virtual_time
async def test_what_is_offered_while_the_log_is_read_is_sent_once(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        read, ids = w.spool.read, await w.append(3, offer=False)

        async def overtaken(integration_id: str, run: Run, limit: int) -> Page:
            """Read before or after an append that is offered before the answer is in."""
            w.spool.read = read
            if len(ids) == 3:
                ids.extend(await w.append(2))
                return await read(integration_id, run, limit)
            page = await read(integration_id, run, limit)
            ids.extend(await w.append(2))
            return page

        for _ in range(2):
            w.spool.read = overtaken
            w.dispatcher.look()
            await w.until(lambda: w.books().pending == 0)
            assert w.sink.sent() == ids
            ids += await w.append(1, offer=False)
        assert w.books().delivered == 8


@in_virtual_time
async def test_the_log_is_trimmed_though_a_lane_gets_nothing(tmp_path: Path) -> None:
    """Also where it was behind and nobody woke it, or where a call of its own waits to be made again."""
    async with world(tmp_path, status("a"), status("idle"), status("off", sends=False)) as w:
        await w.append(10, offer=False)
        w.dispatcher.look("a")
        await w.until(lambda: w.books().pending == 0)
        for _ in range(3):
            await w.dispatcher.step()
            await asyncio.sleep(0.1)
        assert w.spool._store.first_seq() == 11


@in_virtual_time
async def test_a_lane_without_an_integration_keeps_its_events_until_they_expire(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.append(3, "orphan")
        await w.dispatcher.step()
        assert w.dispatcher.views().keys() == {"orphan"}
        assert w.dispatcher.finished  # nobody waits for what cannot be sent
        await w.until(lambda: w.books("orphan").expired == 3)
        assert w.clock.monotonic() >= RETENTION
        assert w.sink.calls == []


@in_virtual_time
async def test_two_who_hold_a_lane_back_take_turns(tmp_path: Path) -> None:
    held: list[str] = []

    async def hold(w: World, name: str) -> None:
        async with w.dispatcher.without_lane("a"):
            held.append(f"{name} in")
            await asyncio.sleep(1)
            held.append(f"{name} out")

    answered = asyncio.Event()

    async def when_told(destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        await answered.wait()
        return await w.sink.accept(destination, deliveries)

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = when_told
        await w.append(5)
        await w.until(lambda: len(w.sink.calls) == 1)
        both = asyncio.gather(hold(w, "first"), hold(w, "second"))
        await asyncio.sleep(1)
        assert held == []  # the call is still out
        answered.set()
        await both
        assert held == ["first in", "first out", "second in", "second out"]
        await w.append(5)
        await w.idle()
        assert w.books().delivered == 10


@in_virtual_time
async def test_a_lane_held_back_stays_so_whatever_its_status_says(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        answered = asyncio.Event()

        async def slow(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
            await asyncio.sleep(1)
            answered.set()
            return [ACCEPTED] * len(deliveries)

        w.sink.answer = slow
        await w.append(5)
        await w.until(lambda: len(w.sink.calls) == 1)

        async def disturb() -> None:
            await asyncio.sleep(0.5)
            await w.append(5)
            w.dispatcher.apply([status("a", "eu-west-1")])

        disturbing = asyncio.create_task(disturb())
        async with w.dispatcher.without_lane("a"):
            assert answered.is_set()
            await disturbing
            await w.dispatcher.step()
            assert w.dispatcher.views() == {}
            assert await w.spool.bury("a", Reason.SOURCE_REPLACED, "moved") == 5
        ids = await w.append(2)
        await w.idle()
        assert w.sink.sent() == ["e0", "e1", "e2", "e3", "e4", *ids]
        assert [to.region for to, _ in w.sink.calls] == ["us-east-1", "eu-west-1"]
        assert w.books().pending == 0


@in_virtual_time
async def test_redriven_dead_letters_are_sent_by_the_running_lane(tmp_path: Path) -> None:
    async with world(tmp_path, status("a"), status("b")) as w:
        w.sink.answer = _refuse_all
        await w.append(3)
        await w.idle()
        assert w.books().dead_lettered == {Reason.REFUSED: 3}
        w.sink.answer = w.sink.accept
        await w.append(2, "b")
        assert await w.spool.redrive(DeadLetterFilter()) == 3
        w.dispatcher.look("a")
        more = await w.append(2, "a", "b")  # the sequence has jumped meanwhile
        await w.idle()
        assert sorted(w.sink.sent("a")) == sorted(["e0", "e1", "e2"] * 2 + more)
        assert (w.books().matched, w.books().delivered, w.books().pending) == (8, 5, 0)


async def _refuse_all(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
    return [PERMANENT] * len(deliveries)


@in_virtual_time
async def test_a_spool_that_cannot_be_read_delays_and_loses_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        real = {name: getattr(w.spool, name) for name in ("read", "read_parked", "lanes", "trim")}

        async def broken(*_: object) -> None:
            raise SpoolError("not now")

        w.sink.answer = lambda _, each: _some_again(each)
        await w.append(4)
        await w.until(lambda: bool(w.books().retried))
        for name in real:
            setattr(w.spool, name, broken)
        await w.append(3, offer=False)
        w.dispatcher.look()
        await w.dispatcher.step()
        await asyncio.sleep(5)
        assert w.books().delivered == 3
        for name, method in real.items():
            setattr(w.spool, name, method)
        await w.idle()
        assert (w.books().delivered, w.books().pending) == (7, 0)


async def _some_again(deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
    return [RETRY if each.notification.id == "e1" and not each.attempts else ACCEPTED for each in deliveries]


@in_virtual_time
async def test_what_is_abandoned_is_sent_at_the_next_start(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = w.sink.hang
        ids = await w.append(12)
        await w.until(lambda: len(w.sink.calls) == 3)
    async with world(tmp_path, status("a")) as w:
        await w.idle()
        assert w.sink.sent() == ids
        assert (w.books().matched, w.books().delivered) == (12, 12)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_every_event_ends_exactly_once_in_the_books(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  (a test's dice)
    appended: list[str] = []
    accepted: Counter[str] = Counter()
    for life in range(3):
        in_virtual_time(_live)(tmp_path, rng, appended, accepted, last=life == 2)
    assert set(accepted) == set(appended)


async def _live(path: Path, rng: random.Random, appended: list[str], accepted: Counter[str], *, last: bool) -> None:
    """Traffic, pauses, moves and all kinds of failure; then an end without a drain, or until all is delivered."""

    async def answer(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        await asyncio.sleep(rng.choice([0, 0, 0.02, 3]))
        if rng.random() < 0.2:
            raise PutError(rng.choice([Reason.TIMEOUT, Reason.THROTTLED, Reason.REFUSED]), "Code", "no")
        results = [RETRY if rng.random() < 0.1 else ACCEPTED for _ in deliveries]
        accepted.update(d.notification.id for d, r in zip(deliveries, results, strict=True) if r is ACCEPTED)
        return results

    async with world(path) as w:
        w._count = len(appended)
        w.sink.answer = answer
        w.dispatcher.apply([status("a"), status("b")])
        for _ in range(30):
            appended += await w.append(rng.randint(1, 8), *rng.choice([("a",), ("b",), ("a", "b")]))
            if rng.random() < 0.2:
                w.dispatcher.apply([status("a", rng.choice(["x", "y"]), sends=rng.random() < 0.7), status("b")])
            if rng.random() < 0.3:
                await w.dispatcher.step()
            await asyncio.sleep(rng.choice([0, 0.005, 0.3]))
        if last:
            await _finish(w)
            accepted.update(
                row.letter.delivery.notification.id for row in await w.spool.dead_letters(DeadLetterFilter())
            )
        for name in ("a", "b"):
            assert w.books(name).pending >= 0


async def _finish(w: World) -> None:
    w.dispatcher.apply([status("a"), status("b")])
    w.dispatcher.look()
    await w.until(lambda: all(w.books(name).pending == 0 for name in ("a", "b")))
    await w.idle()
    await w.dispatcher.step()
    await w.dispatcher.step()
    assert w.spool._store.first_seq() == w.spool.tail + 1
    assert all(not books.expired for books in w.spool.books.lanes.values())
