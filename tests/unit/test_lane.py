"""One lane against a scripted sink and a real spool, in virtual time."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from forwarder.errors import PutError, SpoolError
from forwarder.lane import FAILURES_IN_A_ROW
from forwarder.model import Delivery, Destination, EntryResult, Reason
from forwarder.rules.retry import CALL_PAUSES
from forwarder.spool.base import DeadLetterFilter
from tests.unit.scripted import ACCEPTED, DOWN, GONE, LINGER, PERMANENT, RETENTION, RETRY, status, world
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.timeout(20)  # a lane that spins would hang the loop for ever


@in_virtual_time
async def test_a_full_call_leaves_at_once_and_the_rest_after_the_linger(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        began = w.clock.monotonic()
        ids = await w.append(7)
        await w.idle()
        assert [sent for _, sent in w.sink.calls] == [ids[:5], ids[5:]]
        assert w.sink.began_at[0] == began
        assert w.sink.began_at[1] == pytest.approx(began + LINGER, abs=1e-4)
        assert (w.books().delivered, w.books().pending) == (7, 0)


@in_virtual_time
async def test_a_call_is_full_by_bytes_too(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        ids = await w.append(3, size=400)  # a call takes 1,000
        await w.idle()
        assert [sent for _, sent in w.sink.calls] == [ids[:2], ids[2:]]


@in_virtual_time
async def test_several_calls_are_in_flight_and_may_end_in_any_order(tmp_path: Path) -> None:
    release = [asyncio.Event() for _ in range(3)]

    async def answer(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        await release[(deliveries[0].seq - 1) // 5].wait()
        return [ACCEPTED] * len(deliveries)

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = answer
        await w.append(15)
        await w.until(lambda: len(w.sink.calls) == 3)
        for event in reversed(release):
            event.set()
            await asyncio.sleep(0.001)
        await w.idle()
        assert (await w.spool.enlist("a")).position == 15
        assert w.books().delivered == 15


@in_virtual_time
async def test_a_failed_call_is_made_again_as_it_was_with_one_probe_at_a_time(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = w.sink.refuse
        ids = await w.append(15)
        await w.until(lambda: len(w.sink.calls) == 8)
        view = w.lane().view()
        assert view.trouble == "connection: ConnectionRefused: down"
        w.sink.answer = w.sink.accept
        await w.idle()
        first = [sent for _, sent in w.sink.calls[:3]]
        assert first == [ids[:5], ids[5:10], ids[10:]]  # before anything was known
        assert all(sent in first for _, sent in w.sink.calls)
        probes = w.sink.began_at[3:9]
        pauses = [later - earlier for earlier, later in pairwise(probes)]
        assert pauses == pytest.approx(
            [min(CALL_PAUSES.base * 2**n, CALL_PAUSES.cap) * w.jitter for n in (1, 2, 3, 4, 5)]
        )
        assert w.books().retried == {Reason.CONNECTION: 8 * 5}
        assert w.books().delivered == 15
        assert w.lane().view().trouble is None


@in_virtual_time
async def test_a_lane_that_waited_at_the_gate_when_trouble_began_does_not_call(tmp_path: Path) -> None:
    async with world(tmp_path, status("a"), ceiling=1) as w:
        w.sink.answer = w.sink.refuse
        await w.append(10)
        await w.until(lambda: len(w.sink.calls) == 1)
        assert w.lane().view().trouble
        await asyncio.sleep(CALL_PAUSES.base * w.jitter / 2)
        assert len(w.sink.calls) == 1
        assert w.gate("us-east-1").view().in_flight == 0


@in_virtual_time
async def test_a_call_that_fails_between_others_waits_alone(tmp_path: Path) -> None:
    failed: list[list[str]] = []

    async def fail_every_third(destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        sent = [each.notification.id for each in deliveries]
        if len(w.sink.calls) % 3 == 0 and sent not in failed:
            failed.append(sent)
            raise PutError(Reason.SERVER_ERROR, "HTTP503", "busy")
        return await w.sink.accept(destination, deliveries)

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = fail_every_third
        await w.append(50)
        await w.until(lambda: len(w.sink.calls) >= 10)
        assert w.lane().view().trouble is None
        assert w.sink.began_at[9] == w.sink.began_at[0]  # nobody waited for those that failed
        await w.idle()
        assert len(failed) >= 3
        assert w.books().delivered == 50


@in_virtual_time
async def test_some_failures_in_a_row_are_trouble_of_the_destination(tmp_path: Path) -> None:
    async def busy(_: Destination, __: Sequence[Delivery]) -> Sequence[EntryResult]:
        raise PutError(Reason.SERVER_ERROR, "HTTP503", "busy")

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = busy
        await w.append(5)
        await w.until(lambda: len(w.sink.calls) == FAILURES_IN_A_ROW - 1)
        assert w.lane().view().trouble is None
        await w.until(lambda: len(w.sink.calls) == FAILURES_IN_A_ROW)
        assert w.lane().view().trouble == "server_error: HTTP503: busy"


@in_virtual_time
async def test_the_pause_that_the_service_asks_for_is_kept(tmp_path: Path) -> None:
    async def throttle(_: Destination, __: Sequence[Delivery]) -> Sequence[EntryResult]:
        raise PutError(Reason.THROTTLED, "ThrottlingException", "slow down", retry_after=7.0)

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = throttle
        await w.append(1)
        await w.until(lambda: len(w.sink.calls) == 2)
        assert w.sink.began_at[1] - w.sink.began_at[0] == pytest.approx(7.0 + CALL_PAUSES.base * w.jitter)


@in_virtual_time
async def test_a_call_that_one_entry_spoils_is_split_down_to_that_entry(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:

        async def answer(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
            if any(each.notification.id == "e2" for each in deliveries):
                raise PutError(Reason.REFUSED, "ValidationException", "not so")
            return [ACCEPTED] * len(deliveries)

        w.sink.answer = answer
        await w.append(5)
        await w.idle()
        letters = await w.spool.dead_letters(DeadLetterFilter())
        assert [row.letter.delivery.notification.id for row in letters] == ["e2"]
        assert w.books().dead_lettered == {Reason.REFUSED: 1}
        assert (w.books().delivered, w.books().pending) == (4, 0)
        assert not w.lane().view().trouble


@in_virtual_time
async def test_entries_that_fail_alone_are_parked_and_tried_again_by_themselves(tmp_path: Path) -> None:
    tries: list[tuple[str, int]] = []

    async def answer(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        tries.extend((each.notification.id, each.attempts) for each in deliveries)
        odd = {"e1": RETRY if len(tries) < 10 else ACCEPTED, "e3": PERMANENT}
        return [odd.get(each.notification.id, ACCEPTED) for each in deliveries]

    async with world(tmp_path, status("a")) as w:
        w.sink.answer = answer
        w.sink.faulty = {"e4"}
        await w.append(5)
        await w.idle()
        assert tries == [("e0", 0), ("e1", 0), ("e2", 0), ("e3", 0), *[("e1", n) for n in range(1, 7)]]
        assert w.books().dead_lettered == {Reason.REFUSED: 1, Reason.OVERSIZE: 1}
        assert w.books().retried == {Reason.ENTRY_INTERNAL: 6}
        assert (w.books().delivered, w.books().pending) == (3, 0)


@in_virtual_time
async def test_an_unknown_source_pauses_the_lane_without_spinning(tmp_path: Path) -> None:
    """The entry is parked and nothing waits in memory: a probe that is due has nothing to send."""
    async with world(tmp_path, status("a")) as w:
        w.jitter = 0.9
        w.sink.answer = lambda _, __: _gone()
        await w.append(1)
        await w.until(lambda: bool(w.gone))
        tokens = w.gate("us-east-1")._bucket.tokens
        await asyncio.sleep(0.5)
        assert len(w.sink.calls) == 1
        assert w.gate("us-east-1")._bucket.tokens >= tokens  # it has not knocked either
        w.sink.answer = w.sink.accept
        await w.idle()
        assert w.books().delivered == 1


async def _gone() -> Sequence[EntryResult]:
    return [GONE]


@in_virtual_time
async def test_what_waits_too_long_in_memory_expires(tmp_path: Path) -> None:
    """Also where an older call waits behind a younger one, and while the lane backs off."""
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = w.sink.refuse
        await w.append(5)
        await asyncio.sleep(100)
        await w.append(5)
        await asyncio.sleep(100)
        await w.append(3)
        assert w.books().pending == 13
        w.lane().queue._again.rotate(1)  # calls in flight fail in any order
        await w.until(lambda: w.books().pending == 0)
        assert w.books().expired == 13
        assert RETENTION + 200 <= w.clock.monotonic() < RETENTION + 201
        await w.dispatcher.step()
        await w.until(lambda: w.spool._store.first_seq() == 14)


@in_virtual_time
async def test_a_parked_entry_that_has_expired_leaves_though_a_younger_call_waits(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = lambda _, each: _all(RETRY, len(each))
        w.jitter = 0.999
        await w.append(1)
        await w.until(lambda: w.clock.monotonic() > RETENTION - 300)
        w.sink.answer = w.sink.refuse
        await w.append(5)
        await w.until(lambda: w.books().expired == 1)
        assert w.books().pending == 5


async def _all(result: EntryResult, count: int) -> Sequence[EntryResult]:
    return [result] * count


@in_virtual_time
async def test_a_paused_lane_sends_nothing_keeps_all_and_expires_it_in_time(tmp_path: Path) -> None:
    async with world(tmp_path, status("a", sends=False)) as w:
        await w.append(12)
        await asyncio.sleep(RETENTION / 2)
        assert (w.sink.calls, w.books().pending) == ([], 12)
        more = await w.append(2)
        await asyncio.sleep(RETENTION / 2)
        await w.until(lambda: w.books().expired == 12)
        w.dispatcher.apply([status("a")])
        await w.idle()
        assert w.sink.sent() == more


@in_virtual_time
async def test_a_pause_and_a_new_destination_count_while_the_lane_waits_at_the_gate(tmp_path: Path) -> None:
    async with world(tmp_path, status("a"), ceiling=1) as w:
        release = asyncio.Event()

        async def answer(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
            await release.wait()
            return [ACCEPTED] * len(deliveries)

        w.sink.answer = answer
        ids = await w.append(10)
        await w.until(lambda: len(w.sink.calls) == 1)
        w.dispatcher.apply([status("a", "eu-west-1")])
        release.set()
        await w.idle()
        assert [(to.region, sent) for to, sent in w.sink.calls] == [("us-east-1", ids[:5]), ("eu-west-1", ids[5:])]
        assert w.gate("us-east-1").view().in_flight == 0


@in_virtual_time
async def test_a_settlement_that_cannot_be_written_is_written_later_and_not_sent_again(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        settle, failures = w.spool.settle, 3

        async def failing(settlement: object) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise SpoolError("disk full")
            await settle(settlement)  # type: ignore[arg-type]  # passed through

        w.spool.settle = failing
        await w.append(1)
        await w.until(lambda: w.books().delivered == 1)
        assert len(w.sink.calls) == 1


@in_virtual_time
async def test_a_sink_that_breaks_its_word_is_trouble_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:

        async def broken(_: Destination, __: Sequence[Delivery]) -> Sequence[EntryResult]:
            if len(w.sink.calls) == 1:
                raise ValueError("a bug")
            return []

        w.sink.answer = broken
        await w.append(2)
        await w.until(lambda: len(w.sink.calls) >= 3)
        assert w.books().retried.keys() == {Reason.BAD_ANSWER}
        w.sink.answer = w.sink.accept
        await w.idle()
        assert w.books().delivered == 2


@in_virtual_time
async def test_draining_sends_what_is_in_memory_and_leaves_the_parked(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = lambda _, each: _all(RETRY, len(each))
        w.jitter = 0.1  # due in a moment, when the drain has begun
        await w.append(1)
        await w.until(lambda: bool(w.books().retried))

        async def slow(_: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
            await asyncio.sleep(5)
            return [ACCEPTED] * len(deliveries)

        w.sink.answer = slow
        w.jitter = 0.5
        await w.append(3)
        await w.dispatcher.drain()  # the parked one is due while the other call is out
        assert w.sink.sent() == ["e0", "e1", "e2", "e3"]
        assert w.gate("us-east-1")._bucket.tokens > 990  # nor does it ask for calls that it will not make
        assert (w.books().delivered, w.books().pending) == (3, 1)


@in_virtual_time
async def test_draining_does_not_wait_for_a_destination_in_trouble(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = w.sink.refuse
        await w.append(3)
        await w.until(lambda: w.lane().view().trouble is not None)
        await w.dispatcher.drain()
        assert w.books().pending == 3
        assert str(DOWN) in (w.lane().view().trouble or "")
