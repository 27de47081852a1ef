"""The rows of the fault matrix: a healthy run of each kind, then one kind of trouble a row."""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from tests.fault.matrix import UNACKNOWLEDGED, UNDER_WAY, Row, Scale
from tests.fault.proxy import Proxy
from tests.system.oracle import PREFIX
from tests.system.processes import until
from tests.system.rig import CRM, Rig

RATE = 800
DISTURBED = 10.0  # times the p99 that the same lane had before the trouble; a stall makes it a hundred
MIB = 1024 * 1024
RESERVED = 24 * MIB  # of a disk: what the spool leaves alone, and its write-ahead log
EVENT_BYTES = 500  # and somewhat more, in the spool

BESIDE = {"crm": CRM, "sick": CRM}
BESIDE_WANTS = {"presence": ("crm", "sick")}

ok: Sequence[str] = ()


async def burst(rig: Rig, scale: Scale, **fault: Any) -> Sequence[str]:
    rig.fault(**fault)
    await rig.burst(scale.burst)
    return ok


async def load(rig: Rig, scale: Scale, **fault: Any) -> Sequence[str]:
    rig.fault(**fault)
    await rig.publish(rate=RATE, seconds=scale.seconds)
    return ok


@asynccontextmanager
async def under_load(rig: Rig, seconds: float) -> AsyncIterator[None]:
    """Load that has begun to arrive, and lasts at least as long as what is done meanwhile."""
    publishing = asyncio.create_task(rig.publish(rate=RATE, seconds=seconds))
    await until(lambda: rig.oracle.arrivals > RATE / 4, "events arrive")
    yield
    await publishing


async def throttled(rig: Rig, scale: Scale) -> Sequence[str]:
    return await load(rig, scale, throttle_rate=0.3)


async def destination_down(rig: Rig, scale: Scale, *, seconds: float | None = None) -> Sequence[str]:
    away = seconds or scale.outage
    async with under_load(rig, max(scale.seconds, away + 1)):
        await rig.emulator.stop()
        await asyncio.sleep(away)  # the outage itself
        await rig.emulator.start()
        rig.notes.append(f"first arrival {await _until_arrival(rig):.1f} s after its return")
    return ok


async def _until_arrival(rig: Rig) -> float:
    back, before = time.monotonic(), rig.oracle.arrivals
    await until(lambda: rig.oracle.arrivals > before, "events arrive again", 60)
    return time.monotonic() - back


async def sick_sibling(rig: Rig, scale: Scale, **fault: Any) -> Sequence[str]:
    """The healthy lane before, and beside, one whose destination is in trouble, in the same region."""
    await rig.publish(rate=RATE, seconds=scale.seconds)
    await rig.settled()
    before, started = rig.oracle.lanes["crm"].percentile(99), rig.published
    rig.fault(source=f"{PREFIX}sick", **fault)
    await rig.publish(rate=RATE, seconds=scale.seconds)
    healthy = rig.oracle.lanes["crm"]
    await until(lambda: not healthy.missing, "the healthy lane has everything while the other is still in trouble")
    beside = healthy.percentile(99, range(started, rig.published))
    rig.emulator.faults.clear()
    if beside <= before * DISTURBED:
        return ok
    return [f"the healthy lane's p99 went from {before * 1000:.0f} to {beside * 1000:.0f} ms"]


async def broker_restart(rig: Rig, scale: Scale) -> Sequence[str]:
    async with under_load(rig, scale.seconds):
        await rig.broker.stop()
        await rig.broker.start()
        rig.notes.append(f"first arrival {await _until_arrival(rig):.1f} s after its return")
    return ok


async def half_open_broker(rig: Rig, scale: Scale) -> Sequence[str]:
    """The connection falls silent without an end; the keep-alive has to notice."""
    async with Proxy(rig.broker.port) as proxy:
        await rig.daemon.stop()
        rig.daemon.settings["FORWARDER_MQTT_URL"] = f"mqtt://127.0.0.1:{proxy.port}"
        await rig.daemon.start(integrations=2)
        async with under_load(rig, scale.seconds):
            proxy.freeze()
        await rig.settled()
    return ok


async def half_open_aws(rig: Rig, scale: Scale) -> Sequence[str]:
    async with Proxy(rig.emulator.port) as proxy:
        await rig.daemon.stop()
        rig.daemon.settings["AWS_ENDPOINT_URL_EVENTBRIDGE"] = f"http://127.0.0.1:{proxy.port}"
        await rig.daemon.start(integrations=2)
        async with under_load(rig, scale.seconds):
            proxy.freeze()
        await rig.settled()
    return ok


async def killed(rig: Rig, scale: Scale) -> Sequence[str]:
    """`kill -9` at random moments, some of them while it starts."""
    dice = random.Random(9)  # noqa: S311  (moments that repeat, not a secret)
    publishing = asyncio.create_task(rig.publish(rate=RATE, seconds=max(scale.seconds, scale.kills * 1.5)))
    for _ in range(scale.kills):
        await asyncio.sleep(dice.uniform(0.1, 1.5))
        await rig.daemon.stop(SIGKILL)
        await rig.daemon.launch()
    await rig.daemon.answering()
    await publishing
    return ok


async def terminated(rig: Rig, scale: Scale) -> Sequence[str]:
    async with under_load(rig, scale.seconds):
        code = await rig.daemon.stop()
        await rig.daemon.start(integrations=2)
    return ok if code == 0 else [f"SIGTERM ended with {code}"]


async def paused(rig: Rig) -> bool:
    return (await rig.daemon.get("/readyz"))[0] == 503


async def full(rig: Rig, _: Scale, *, size: int) -> Sequence[str]:
    """Nothing is delivered until the spool cannot take any more; then everything is."""
    rig.fault(errors=({"code": "ServiceUnavailable", "rate": 1},))
    await rig.burst(2 * size // EVENT_BYTES)
    await until(partial(paused, rig), "the intake is paused and says so")
    rig.emulator.faults.clear()
    return ok


async def disk_full(rig: Rig, scale: Scale, *, size: int) -> Sequence[str]:
    if os.getuid() != 0:
        return ["not run: mounting a tmpfs needs root"]
    await rig.daemon.stop()
    rig.daemon.state = Path(rig.directory / "small")
    rig.daemon.state.mkdir()
    rig.daemon.settings["FORWARDER_STATE_DIR"] = str(rig.daemon.state)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(rig.daemon.state)]
    done = await asyncio.to_thread(subprocess.run, mount, capture_output=True, check=False)
    if done.returncode:
        return [f"not run: {done.stderr.decode().strip()}"]
    unmount = ["umount", str(rig.daemon.state)]
    rig.undo.callback(subprocess.run, unmount, check=True)
    await rig.daemon.start(integrations=2)
    return await full(rig, scale, size=size - RESERVED)


def resent(rig: Rig, scale: Scale) -> int:
    """Calls that the emulator carried out and did not answer."""
    regions: Any = rig.emulator.state.stats()["regions"]
    calls = [view["calls"].get("PutPartnerEvents", {}).get("reset_after", 0) for view in regions.values()]
    return int(20 * sum(calls))


def one_cut(rig: Rig, scale: Scale) -> int:
    return 2 * UNDER_WAY + UNACKNOWLEDGED


def each_kill(rig: Rig, scale: Scale) -> int:
    return scale.kills * one_cut(rig, scale)


ROWS: Sequence[Row] = (
    Row("800 events/s", load),
    Row("burst", burst),
    Row("burst, a call takes 30 ms", partial(burst, latency_ms=30), call_ms=30),
    Row("800 events/s, a call takes 30 ms", partial(load, latency_ms=30), call_ms=30),
    Row("5 % of entries fail", partial(load, entry_errors=({"code": "InternalFailure", "rate": 0.05},))),
    Row("20 % of calls answer 503", partial(load, errors=({"code": "ServiceUnavailable", "rate": 0.2},))),
    Row("30 % of calls throttled", throttled),
    Row("10 % of connections reset before processing", partial(load, reset_before_rate=0.1)),
    Row("10 % of connections reset after processing", partial(load, reset_after_rate=0.1), twice=resent),
    Row("destination down", destination_down, twice=one_cut),
    Row(
        "beside a sibling that takes 2 s",
        partial(sick_sibling, latency_ms=2000),
        integrations=BESIDE,
        wants=BESIDE_WANTS,
    ),
    Row(
        "beside a sibling that hangs",
        partial(sick_sibling, hang_rate=1),
        integrations=BESIDE,
        wants=BESIDE_WANTS,
        settings={"FORWARDER_EVENTBRIDGE_TIMEOUT_SECONDS": "3"},
    ),
    Row(
        "beside a sibling that is dead",
        partial(sick_sibling, errors=({"code": "ServiceUnavailable", "rate": 1},)),
        integrations=BESIDE,
        wants=BESIDE_WANTS,
    ),
    Row("broker restart", broker_restart, twice=one_cut),
    Row(
        "half-open connection to the broker",
        half_open_broker,
        twice=one_cut,
        settings={"FORWARDER_MQTT_KEEPALIVE_SECONDS": "1"},
    ),
    Row(
        "half-open connections to AWS",
        half_open_aws,
        twice=one_cut,
        settings={"FORWARDER_EVENTBRIDGE_TIMEOUT_SECONDS": "2"},
    ),
    Row("kill -9 at random moments", killed, twice=each_kill),
    Row("SIGTERM", terminated),
    Row("disk full", partial(disk_full, size=40 * MIB)),
    Row("spool limit reached", partial(full, size=4 * MIB), settings={"FORWARDER_SPOOL_MAX_BYTES": "4MiB"}),
)


def long_rows(scale: Scale) -> Sequence[Row]:
    """Those that only the long form has the time for."""
    if scale.long_outage is None:
        return ()
    down = partial(destination_down, seconds=scale.long_outage)
    return (Row(f"destination down {scale.long_outage:g} s", down, twice=one_cut),)
