"""What a row of the fault matrix is, how it is run, and what it must show."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tests.system.rig import Rig, running

MEMORY_LIMIT = 150_000_000
UNDER_WAY = 64 * 20  # entries in calls of one region, at FORWARDER_MAX_CONCURRENCY
UNACKNOWLEDGED = 500  # messages that the broker's configuration lets a client have under way


class Scale(msgspec.Struct, frozen=True):
    """How much of everything: events at once, seconds of load, seconds of outage, kills."""

    burst: int
    seconds: float
    outage: float
    long_outage: float | None
    kills: int


SHORT = Scale(burst=6_000, seconds=2.5, outage=2.0, long_outage=None, kills=3)
LONG = Scale(burst=40_000, seconds=10.0, outage=5.0, long_outage=300.0, kills=20)


class Row(msgspec.Struct, frozen=True):
    """`run` puts the load on and makes the trouble; it returns what of the row's own promise is broken.

    `call_ms` is the call's own time, which is no delay of ours; `twice` how many may arrive once more.
    """

    name: str
    run: Callable[[Rig, Scale], Awaitable[Sequence[str]]]
    call_ms: float = 0
    twice: Callable[[Rig, Scale], int] = lambda rig, scale: 0
    settings: Mapping[str, str] = {}
    integrations: Mapping[str, Mapping[str, str]] | None = None
    wants: Mapping[str, Sequence[str]] | None = None


class Result(msgspec.Struct, frozen=True):
    """One line of the table. Times in milliseconds over the call's own, memory in bytes."""

    name: str
    acknowledged: int
    lost: int
    twice: int
    p50: float
    p99: float
    memory: int
    broken: tuple[str, ...]
    notes: tuple[str, ...]

    def line(self) -> str:
        verdict = "; ".join(("BROKEN", *self.broken) if self.broken else ("held", *self.notes))
        return (
            f"| {self.name} | {self.acknowledged:,} | {self.lost} | {self.twice} "
            f"| {self.p50:,.0f} | {self.p99:,.0f} | {self.memory / 1e6:.0f} | {verdict} |"
        )


HEADER = (
    "| row | acknowledged | lost | twice | p50 ms | p99 ms | memory MB | promises |\n"
    "|---|---:|---:|---:|---:|---:|---:|---|"
)


async def run_row(row: Row, scale: Scale, directory: Path) -> Result:
    """Run one row from an empty directory to the last arrival."""
    async with running(directory, settings=row.settings, integrations=row.integrations, wants=row.wants) as rig:
        async with rig.audited():
            broken = await _carried_out(row, rig, scale)
        return judged(row, rig, [*broken, *broken_promises(rig, row.twice(rig, scale))])


async def _carried_out(row: Row, rig: Rig, scale: Scale) -> list[str]:
    try:
        broken = await row.run(rig, scale)
        await rig.settled()
        if not rig.oracle.missing:
            await rig.quiet()
    except AssertionError as error:
        return [str(error)]
    return list(broken)


def broken_promises(rig: Rig, twice_at_most: int) -> list[str]:
    """What holds in every row, and does not in this."""
    oracle = rig.oracle
    found = []
    if oracle.missing:
        found.append(f"{oracle.missing} of the acknowledged never arrived")
    if oracle.twice > twice_at_most:
        found.append(f"{oracle.twice} arrived twice, at most {twice_at_most} may")
    if oracle.damaged:
        found.append(f"{len(oracle.damaged)} arrived altered")
    if oracle.strays:
        found.append(f"{len(oracle.strays)} arrived where they do not belong: {oracle.strays[0]}")
    if rig.imbalances:
        found.append(f"the books did not balance at {len(rig.imbalances)} scrapes: {rig.imbalances[0]}")
    if not rig.scrapes:
        found.append("not one scrape was answered")
    if rig.memory_peak > MEMORY_LIMIT:
        found.append(f"{rig.memory_peak / 1e6:.0f} MB of memory")
    return found


def judged(row: Row, rig: Rig, broken: Sequence[str]) -> Result:
    lane = rig.oracle.lanes["crm"]
    return Result(
        name=row.name,
        acknowledged=len(set().union(*(each.wanted for each in rig.oracle.lanes.values()))),
        lost=rig.oracle.missing,
        twice=rig.oracle.twice,
        p50=lane.percentile(50) * 1000 - row.call_ms,
        p99=lane.percentile(99) * 1000 - row.call_ms,
        memory=rig.memory_peak,
        broken=tuple(broken),
        notes=tuple(rig.notes),
    )
