"""The gate of a region, in virtual time: its limit, its shares, its rate."""

import asyncio
from collections import Counter

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.clock import SystemClock
from forwarder.model import Reason
from forwarder.region_gate import RegionGate
from tests.virtual_time import VirtualClock, in_virtual_time


def gate(*lanes: str, ceiling: int = 4, rate: float = 1e6, burst: float = 1e6) -> RegionGate:
    made = RegionGate(ceiling=ceiling, rate=rate, burst=burst, clock=VirtualClock())
    for lane in lanes:
        made.join(lane)
    return made


async def waits(task: "asyncio.Task[None]") -> bool:
    await asyncio.sleep(0.001)
    return not task.done()


@in_virtual_time
async def test_one_lane_may_use_the_whole_limit_and_no_more() -> None:
    g = gate("a", "b")
    for _ in range(4):
        await g.acquire("a")
    fifth = asyncio.create_task(g.acquire("a"))
    assert await waits(fifth)
    g.release("a", 0.0, None)
    await fifth
    assert g.view().in_flight == 4


@in_virtual_time
async def test_a_lane_has_its_share_whatever_the_others_hold() -> None:
    g = gate("a", "b")
    for _ in range(4):
        await g.acquire("a")
    await g.acquire("b")
    await g.acquire("b")
    third = asyncio.create_task(g.acquire("b"))
    assert await waits(third)
    third.cancel()


@in_virtual_time
async def test_a_lane_that_leaves_makes_the_shares_larger() -> None:
    g = gate("a", "b")
    for _ in range(4):
        await g.acquire("a")
    for _ in range(2):
        await g.acquire("b")
    third = asyncio.create_task(g.acquire("b"))
    assert await waits(third)
    g.leave("a")
    await third
    for _ in range(4):
        g.release("a", 0.0, Reason.TIMEOUT)
    assert g.view().in_flight == 3


@in_virtual_time
async def test_only_throttling_lowers_the_limit_and_is_counted() -> None:
    g = gate("a", ceiling=16)
    for reason in (Reason.TIMEOUT, Reason.SERVER_ERROR, Reason.CONNECTION):
        await g.acquire("a")
        g.release("a", 0.0, reason)
    assert (g.view().limit, g.view().throttles) == (16, 0)
    await g.acquire("a")
    g.release("a", 0.0, Reason.THROTTLED)
    assert (g.view().limit, g.view().throttles) == (8, 1)


@in_virtual_time
async def test_the_rate_holds_callers_back_and_lets_them_in_one_by_one() -> None:
    clock, g = VirtualClock(), gate("a", "b", ceiling=100, rate=10, burst=2)
    admitted: list[float] = []

    async def caller(lane: str) -> None:
        for _ in range(5):
            await g.acquire(lane)
            admitted.append(clock.monotonic())

    began = clock.monotonic()
    await asyncio.gather(caller("a"), caller("b"))
    assert [moment - began for moment in admitted] == pytest.approx([0, 0, *(n / 10 for n in range(1, 9))], abs=0.01)
    assert g.view().waited_seconds > 0


@in_virtual_time
async def test_a_timer_that_fires_early_is_set_again() -> None:
    """uvloop rounds to milliseconds: a timer may fire before there is a token, and has no `when`."""
    g = gate("a", rate=100, burst=1)
    await g.acquire("a")
    second = asyncio.create_task(g.acquire("a"))
    assert await waits(second)
    assert g._refill
    g._refill.cancel()
    g._refilled()
    await second


@in_virtual_time
async def test_a_cancelled_turn_is_passed_on() -> None:
    g = gate("a", "b", ceiling=1)
    await g.acquire("a")
    await g.acquire("b")
    first, second = asyncio.create_task(g.acquire("a")), asyncio.create_task(g.acquire("b"))
    assert await waits(first)
    g.release("a", 0.0, None)  # a's own share is free again
    first.cancel()
    await asyncio.wait([first])
    assert g.view().in_flight == 1
    second.cancel()
    await asyncio.wait([second])
    g.release("b", 0.0, None)
    assert g.view().in_flight == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 0.2), st.sampled_from([None, None, Reason.THROTTLED])),
        max_size=60,
    ),
    st.integers(1, 8),
)
def test_everybody_gets_in_and_never_more_than_the_limit_and_the_shares(
    calls: list[tuple[str, float, Reason | None]], ceiling: int
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        clock, g = VirtualClock(), gate("a", "b", "c", ceiling=ceiling, rate=200, burst=5)
        in_flight: Counter[str] = Counter()

        async def lane(name: str) -> None:
            async with asyncio.TaskGroup() as tasks:
                for _, seconds, failure in [call for call in calls if call[0] == name]:
                    await g.acquire(name)
                    in_flight[name] += 1
                    limit = g.view().limit
                    assert in_flight.total() <= limit or in_flight[name] <= max(1, limit // 3)
                    tasks.create_task(call(name, seconds, failure))

        async def call(name: str, seconds: float, failure: Reason | None) -> None:
            started = clock.monotonic()
            await asyncio.sleep(seconds)
            in_flight[name] -= 1
            g.release(name, started, failure)

        await asyncio.gather(*map(lane, "abc"))  # a waiter that starves would be a deadlock
        assert g.view().in_flight == 0

    scenario()


def test_the_rate_holds_on_uvloop_too() -> None:
    """Its timers are in milliseconds: one shorter than half of that is no timer at all."""

    async def scenario() -> None:
        g = RegionGate(ceiling=4, rate=4_000, burst=1, clock=SystemClock())
        for _ in range(20):
            await g.acquire("a")
            g.release("a", 0.0, None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
