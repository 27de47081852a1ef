"""A dispatch in virtual time: the real spool in a directory, real lanes, and a sink that does as the test says."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from forwarder.dispatcher import Dispatcher
from forwarder.errors import PutError
from forwarder.lane import Lane, LaneContext
from forwarder.model import (
    Delivery,
    Destination,
    EntryResult,
    Integration,
    IntegrationStatus,
    IntendedState,
    Notification,
    Reason,
    Route,
    State,
    Verdict,
)
from forwarder.ops.metrics import Metrics
from forwarder.region_gate import RegionGate
from forwarder.rules.batching import CallLimits
from forwarder.spool.base import LaneBooks, Record, Tally
from forwarder.spool.sqlite import SqliteSpool
from tests.virtual_time import InlineExecutor, VirtualClock

RETENTION = 3600.0
LINGER = 0.01
ACCEPTED = EntryResult(Verdict.ACCEPTED, "event")
RETRY = EntryResult(Verdict.RETRYABLE, None, "InternalException")
PERMANENT = EntryResult(Verdict.PERMANENT, None, "InvalidArgument")
GONE = EntryResult(Verdict.PERMANENT, None, "NotAuthorizedForSourceException", "unknown source")
DOWN = PutError(Reason.CONNECTION, "ConnectionRefused", "down")


def notification(name: str, received_at: float, size: int = 10) -> Notification:
    return Notification(name, "v2.test", b"x" * size, int(received_at), received_at)


def status(name: str, region: str = "us-east-1", *, sends: bool = True) -> IntegrationStatus:
    return IntegrationStatus(
        Integration(name, name, "", "123456789012", region, name, ("v2.#",), IntendedState.ENABLED),
        Destination("123456789012", region, f"source/{name}/{region}"),
        State.ACTIVE if sends else State.INACTIVE,
        "",
        takes_events=True,
        sends=sends,
    )


class ScriptedSink:
    """Accepts everything unless `answer` says otherwise. Keeps what it was sent, call by call."""

    name: ClassVar[str] = "scripted"

    def __init__(self) -> None:
        self.calls: list[tuple[Destination, list[str]]] = []
        self.began_at: list[float] = []
        self.answer: Callable[[Destination, Sequence[Delivery]], Awaitable[Sequence[EntryResult]]] = self.accept
        self.faulty: set[str] = set()

    async def accept(self, _: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        return [ACCEPTED] * len(deliveries)

    async def refuse(self, _: Destination, __: Sequence[Delivery]) -> Sequence[EntryResult]:
        raise DOWN

    async def hang(self, _: Destination, __: Sequence[Delivery]) -> Sequence[EntryResult]:
        await asyncio.sleep(math.inf)
        raise AssertionError

    def entry_size(self, _: Destination, delivery: Delivery) -> int:
        return len(delivery.notification.detail)

    def entry_fault(self, _: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        return (Reason.OVERSIZE, "too large") if delivery.notification.id in self.faulty else None

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        self.calls.append((destination, [each.notification.id for each in deliveries]))
        self.began_at.append(asyncio.get_running_loop().time())
        return await self.answer(destination, deliveries)

    async def close(self) -> None:
        """Nothing is open."""

    def sent(self, name: str | None = None) -> list[str]:
        """All ids sent, in order; those of one integration."""
        wanted = [ids for to, ids in self.calls if name is None or f"/{name}/" in to.event_source_name]
        return [each for ids in wanted for each in ids]


class World:
    """See above. `async with world(tmp_path) as w:` gives one with no lane yet."""

    def __init__(self, spool: SqliteSpool, clock: VirtualClock, tasks: asyncio.TaskGroup, ceiling: int) -> None:
        self.spool, self.clock, self.sink = spool, clock, ScriptedSink()
        self.gates: dict[str, RegionGate] = {}
        self.gone: list[str] = []
        self.jitter = 0.5
        self._ceiling = ceiling
        context = LaneContext(
            spool=spool,
            sink=self.sink,
            gate=self.gate,
            metrics=Metrics(),
            clock=clock,
            jitter=lambda: self.jitter,
            source_gone=lambda name, _: self.gone.append(name),
            linger=LINGER,
        )
        self.dispatcher = Dispatcher(context, limits=CallLimits(5, 1_000), retention=RETENTION, task_group=tasks)
        self._count = 0

    def gate(self, region: str) -> RegionGate:
        if region not in self.gates:
            self.gates[region] = RegionGate(ceiling=self._ceiling, rate=1000, burst=1000, clock=self.clock)
        return self.gates[region]

    def lane(self, name: str = "a") -> Lane:
        return self.dispatcher._lanes[name]

    async def append(self, count: int = 1, *names: str, offer: bool = True, size: int = 10) -> list[str]:
        """Append events for the named integrations (a); returns their ids."""
        ids = [f"e{self._count + each}" for each in range(count)]
        self._count += count
        route = Route("test", names or ("a",))
        records = [Record(notification(each, self.clock.now(), size), route) for each in ids]
        first = await self.spool.append(records, Tally("test", 0, 0, count))
        if offer:
            self.dispatcher.offer(first, records)
        return ids

    async def until(self, condition: Callable[[], bool], within: float = 10 * RETENTION) -> None:
        """Let virtual time pass until the condition holds."""
        deadline = self.clock.monotonic() + within
        while not condition():
            assert self.clock.monotonic() < deadline, "it never came true"
            await asyncio.sleep(0.001 if self.clock.monotonic() < deadline - within + 1 else 0.5)

    async def idle(self) -> None:
        """Until all that the lanes can send is sent and booked."""
        await self.until(lambda: self.dispatcher.finished)

    def books(self, name: str = "a") -> LaneBooks:
        return self.spool.books.lanes[name]


def open_spool(directory: Path, clock: VirtualClock) -> SqliteSpool:
    return SqliteSpool(
        directory,
        max_bytes=1 << 30,
        max_dead_letters=1000,
        dead_letter_retention=1e9,
        clock=clock,
        executor=InlineExecutor(),
    )


@asynccontextmanager
async def world(directory: Path, *statuses: IntegrationStatus, ceiling: int = 16) -> AsyncIterator[World]:
    """A running dispatch with these integrations. What still runs at the end is abandoned."""
    clock = VirtualClock()
    spool = open_spool(directory, clock)
    try:
        async with asyncio.TaskGroup() as tasks:
            w = World(spool, clock, tasks, ceiling)
            w.dispatcher.apply(statuses)
            await asyncio.sleep(0.001)  # the lanes open
            yield w
            w.dispatcher.abandon()
    finally:
        await spool.close()
