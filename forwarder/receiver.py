"""Loop 1: intake -> decode -> match -> spool -> acknowledge. Nothing is acknowledged before it is on disk."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from forwarder.clock import Clock
from forwarder.errors import EndOfStream, SpoolError
from forwarder.intake.base import Intake, IntakeBatch
from forwarder.intake.decode import Malformed, decode
from forwarder.rules.routing_table import RoutingTable
from forwarder.spool.base import Record, Spool, Tally

log = structlog.get_logger()

PAUSE = 0.25  # seconds between two tries while the spool is full or cannot be written


class Receiver:
    """Takes one batch at a time from the intake all the way to its acknowledgement.

    While the spool takes nothing the intake is not read, so that the stream keeps its events; nor is it while `hold`
    says why not to. `table` may be swapped at any time; a batch is matched by the table of its moment. `offer` is told
    of what has just become durable.
    """

    def __init__(
        self,
        intake: Intake,
        spool: Spool,
        clock: Clock,
        *,
        table: RoutingTable,
        offer: Callable[[int, Sequence[Record]], None],
        event_id: bool,
        hold: str | None = None,
    ) -> None:
        self.table = table
        self.hold = hold
        self.trouble: str | None = None
        self._intake = intake
        self._spool = spool
        self._clock = clock
        self._offer = offer
        self._event_id = event_id
        self._task: asyncio.Task[None] | None = None
        self._idle = False  # no batch is at hand
        self._stopping = False
        self._passing: asyncio.Future[int] | None = None  # the batch on its way into the spool

    async def run(self) -> None:
        """Until `stop`, or until a stream that ends has ended."""
        self._task = asyncio.current_task()
        try:
            while not self._stopping:
                await self.step()
        except EndOfStream as end:
            log.info("stream_ended", intake=self._intake.name, detail=str(end))
        except asyncio.CancelledError:
            if not (self._stopping and self._idle):
                raise

    def stop(self) -> None:
        """End after the batch at hand, or at once while waiting for one, or for room. Safe to call twice."""
        self._stopping = True
        if self._idle and self._task:
            self._task.cancel()

    def matched_to(self) -> asyncio.Future[int]:
        """How far the log reaches with all that has been matched so far: known once no batch matched by an earlier
        table is on its way into the spool. Cancelled where such a batch never came there. Never cancel it."""
        if self._passing is not None:
            return self._passing
        known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        known.set_result(self._spool.tail)
        return known

    async def pass_batch(self) -> None:
        """Wait until no batch matched by an earlier table is on its way into the spool."""
        await asyncio.wait([self.matched_to()])

    async def step(self) -> None:
        """One batch."""
        self._idle = True
        await self._wait_until_able()
        batch = await self._intake.receive()
        self._idle = False
        passing = self._passing = asyncio.get_running_loop().create_future()
        try:
            records, tally = self._match(batch)
            first = await self._append(records, tally)
            passing.set_result(self._spool.tail)
        finally:
            self._passing = None
            passing.cancel()  # unless it has a result
        if records:
            self._offer(first, records)
        try:
            await batch.acknowledge()
        except Exception:  # a fault in the intake; the stream will send the batch again
            log.exception("acknowledge_failed", intake=self._intake.name)

    async def _wait_until_able(self) -> None:
        while obstacle := self._obstacle():
            if not self.trouble:
                log.warning("intake_paused", intake=self._intake.name, reason=obstacle)
            self.trouble = obstacle
            await self._clock.sleep(PAUSE)
        self._resumed()

    def _obstacle(self) -> str | None:
        """Why nothing can be taken now."""
        if self._spool.has_room:
            return self.hold
        return "the spool (FORWARDER_SPOOL_MAX_BYTES) or its disk is full; the stream keeps the rest"

    def _resumed(self) -> None:
        if self.trouble:
            log.info("intake_resumed", intake=self._intake.name)
            self.trouble = None

    def _match(self, batch: IntakeBatch) -> tuple[list[Record], Tally]:
        """Decode and match every message. Pure but for the log."""
        now = self._clock.now()
        match, event_id = self.table.match, self._event_id
        records: list[Record] = []
        malformed = unmatched = 0
        for message in batch.messages:
            notification = decode(message, now, event_id)
            if isinstance(notification, Malformed):
                malformed += 1
                log.warning(
                    "malformed_notification",
                    intake=self._intake.name,
                    reason=notification.reason,
                    detail=notification.detail,
                    topic=message.topic,
                    bytes=message.size,
                )
            elif routes := match(notification.topic):
                records.extend([Record(notification, route) for route in routes])
            else:
                unmatched += 1
        matched = len(batch.messages) - malformed - unmatched
        return records, Tally(self._intake.name, malformed, unmatched, matched)

    async def _append(self, records: list[Record], tally: Tally) -> int:
        """Make the batch durable, however long the spool takes."""
        while True:
            try:
                first = await self._spool.append(records, tally)
            except SpoolError as error:
                if not self.trouble:
                    log.warning("intake_paused", intake=self._intake.name, reason=str(error))
                self.trouble = str(error)
                await self._clock.sleep(PAUSE)
            else:
                self._resumed()
                return first
