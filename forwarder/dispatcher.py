"""Loop 2: spool -> batch -> sink -> settle, one lane per integration; and the spool's housekeeping."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from forwarder.errors import SpoolError
from forwarder.lane import Lane, LaneContext
from forwarder.lane_queue import LaneQueue
from forwarder.model import Delivery, IntegrationStatus
from forwarder.ops.snapshot import LaneView
from forwarder.rules.batching import CallLimits
from forwarder.rules.retention import Retention
from forwarder.rules.retry import ENTRY_PAUSES
from forwarder.spool.base import Record

log = structlog.get_logger()

HOUSEKEEPING_SECONDS = 1.0
CLOCK_STEP_SECONDS = 60.0  # less is drift, or NTP at work


class Dispatcher:
    """Owns the lanes. There is one for every integration that takes events or has some in the spool still: without a
    status, or paused, they wait for their integration to come back, or expire."""

    def __init__(
        self, context: LaneContext, *, limits: CallLimits, retention: float, task_group: asyncio.TaskGroup
    ) -> None:
        self._context = context
        self._limits = limits
        self._retention = Retention(retention)
        self._clock_offset = context.clock.now() - context.clock.monotonic()
        self._task_group = task_group
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._statuses: dict[str, IntegrationStatus] = {}
        self._held: set[str] = set()
        self._holds: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._draining = False

    def apply(self, statuses: Iterable[IntegrationStatus]) -> None:
        """Follow the integrations' states: new lanes start, others send or pause."""
        self._statuses = {status.integration.id: status for status in statuses}
        for integration_id, status in self._statuses.items():
            if status.takes_events:
                self._ensure(integration_id)
        for integration_id, lane in self._lanes.items():
            # One that is held back stays paused, whatever its status says meanwhile.
            lane.apply(None if integration_id in self._held else self._statuses.get(integration_id))

    def _ensure(self, integration_id: str) -> None:
        if integration_id in self._lanes or integration_id in self._held or self._draining:
            return
        queue = LaneQueue(integration_id, self._context.spool, limits=self._limits, retention=self._retention)
        lane = self._lanes[integration_id] = Lane(integration_id, queue, self._context, self._spawn)
        lane.apply(self._statuses.get(integration_id))
        self._tasks[integration_id] = self._task_group.create_task(lane.run(), name=f"lane:{integration_id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        call = self._task_group.create_task(work, name=name)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def offer(self, first: int, records: Sequence[Record]) -> None:
        """Hand what the spool has just appended to the lanes, so that those that keep up need not read it."""
        deliveries: dict[str, list[Delivery]] = {integration_id: [] for integration_id in self._lanes}
        for seq, record in enumerate(records, first):
            for integration_id in record.route.integration_ids:
                if integration_id in deliveries:
                    deliveries[integration_id].append(
                        Delivery(seq, record.notification, integration_id, record.route.detail_type)
                    )
        last = first + len(records) - 1
        for integration_id, its in deliveries.items():
            self._lanes[integration_id].offer(first, last, its)

    def look(self, integration_id: str | None = None) -> None:
        """Have lanes look for new work that was not offered, such as redriven dead letters."""
        for lane in self._lanes.values():
            if integration_id in (None, lane.id):
                lane.look()

    @asynccontextmanager
    async def without_lane(self, integration_id: str) -> AsyncIterator[None]:
        """Hold the integration's lane back, its calls finished, while somebody else changes what it has to send.
        Whoever comes second waits for the first."""
        async with self._holds[integration_id]:
            self._held.add(integration_id)
            try:
                if lane := self._lanes.get(integration_id):
                    lane.apply(None)
                    lane.drain()
                    await asyncio.wait([self._tasks[integration_id]])
                    del self._lanes[integration_id], self._tasks[integration_id]
                yield
            finally:
                self._held.discard(integration_id)
                if self._takes_events(integration_id):
                    self._ensure(integration_id)

    async def run(self) -> None:
        """Keep house until cancelled."""
        while True:
            await self.step()
            await self._context.clock.sleep(HOUSEKEEPING_SECONDS)

    async def step(self) -> None:
        """Give every place in the spool a lane or give it up, let idle lanes move on, delete what nobody needs."""
        try:
            await self._watch_clock()
            for integration_id in await self._context.spool.lanes():
                if self._is_over(integration_id):
                    async with self.without_lane(integration_id):
                        await self._context.spool.forget(integration_id)
                else:
                    self._ensure(integration_id)
            for lane in self._lanes.values():
                lane.move_on()
            while await self._context.spool.trim():
                pass
        except SpoolError as error:
            log.warning("spool_trouble", error=str(error))

    def _is_over(self, integration_id: str) -> bool:
        """Whether an integration needs no place in the spool: nothing comes for it, nothing is left, nobody has it."""
        books = self._context.spool.books.lanes.get(integration_id)
        wanted = self._takes_events(integration_id) or integration_id in self._held
        return not wanted and (books is None or not books.pending)

    def _takes_events(self, integration_id: str) -> bool:
        status = self._statuses.get(integration_id)
        return status is not None and status.takes_events

    async def _watch_clock(self) -> None:
        """Notice when the wall clock was set: what waits must neither expire nor be retried by the difference."""
        clock = self._context.clock
        offset = clock.now() - clock.monotonic()
        step = offset - self._clock_offset
        if abs(step) < CLOCK_STEP_SECONDS:
            return
        if step < 0:
            await self._context.spool.retry_by(clock.now() + ENTRY_PAUSES.cap)
        self._clock_offset = offset
        log.warning("clock_was_set", by_seconds=round(step, 1))
        self._retention.clock_was_set(step)
        self.look()

    @property
    def finished(self) -> bool:
        """Whether all there is for integrations that take events is sent and booked."""
        taking = filter(self._takes_events, self._statuses)
        return all(name in self._lanes and self._lanes[name].finished for name in taking)

    async def drain(self) -> None:
        """Send what is in memory, where the destination takes it, and end all lanes."""
        self._draining = True
        for lane in self._lanes.values():
            lane.drain()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def abandon(self) -> None:
        """End all lanes now. Their calls that are not settled will be made again at the next start."""
        for task in (*self._tasks.values(), *self._calls):
            task.cancel()

    def views(self) -> dict[str, LaneView]:
        """Every lane's numbers."""
        return {integration_id: lane.view() for integration_id, lane in self._lanes.items()}
