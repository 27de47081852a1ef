"""The daemon's end, asked for or not: nothing lost, and sent twice only what a killed process could not book."""

import asyncio
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from tests.system.processes import until
from tests.system.rig import Rig, running


async def under_load(rig: Rig) -> asyncio.Task[None]:
    """Load that is well under way when this returns, and goes on."""
    load = asyncio.create_task(rig.publish(rate=800, seconds=3))
    await until(lambda: rig.oracle.arrivals > 400, "events arrive")
    return load


async def test_sigterm_under_load_loses_nothing_and_sends_nothing_twice(rig: Rig) -> None:
    async with rig.audited():
        load = await under_load(rig)
        rig.daemon.send(SIGTERM)
        assert await rig.daemon.ended(20) == 0  # FORWARDER_SHUTDOWN_SECONDS
        assert rig.daemon.log("drain_cut_short") == []
        await load
        await rig.daemon.start(integrations=2)
        await rig.settled()
        await rig.quiet()
    assert (rig.oracle.missing, rig.oracle.twice, rig.oracle.damaged, rig.imbalances) == (0, 0, [], [])


async def test_a_drain_is_cut_short_when_its_time_is_up_and_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, settings={"FORWARDER_SHUTDOWN_SECONDS": "0.5"}) as rig:
        rig.fault(hang_rate=1)
        await rig.publish(rate=100, seconds=0.5)
        assert await rig.daemon.stop() == 0
        assert len(rig.daemon.log("drain_cut_short")) == 1
        rig.fault()
        await rig.daemon.start(integrations=2)
        await rig.settled()
        assert (rig.oracle.missing, rig.oracle.twice) == (0, 0)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_a_second_signal_ends_it_at_once_and_loses_nothing(rig: Rig, number: Signals) -> None:
    rig.fault(hang_rate=1)
    await rig.publish(rate=100, seconds=0.5)
    rig.daemon.send(SIGTERM)
    await until(lambda: rig.daemon.log("stopping"), "the daemon drains")
    rig.daemon.send(number)
    await rig.daemon.ended(10)  # half of what the drain may take
    rig.fault()
    await rig.daemon.start(integrations=2)
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice) == (0, 0)


async def test_kill_9_under_load_loses_nothing_that_was_acknowledged(rig: Rig) -> None:
    rig.fault(latency_ms=30)
    async with rig.audited():
        load = await under_load(rig)
        for _ in range(2):
            await rig.daemon.stop(SIGKILL)
            await rig.daemon.start(integrations=2)
        await load
        await rig.settled()
        await rig.quiet()
        scrape = await rig.daemon.scrape()
    assert (rig.oracle.missing, rig.oracle.strays, rig.oracle.damaged, rig.imbalances) == (0, [], [], [])
    assert rig.oracle.arrivals >= rig.published > 0
    # What was under way comes again: calls that were not booked, and messages that were not acknowledged.
    assert rig.oracle.twice < 2 * 2000
    # Messages that the broker sent again are matched again; each of them is delivered and booked.
    assert scrape.total("forwarder_deliveries_delivered_total") >= len(rig.oracle.lanes["crm"].wanted)
    assert scrape.imbalances() == []
