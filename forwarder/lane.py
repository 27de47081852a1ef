"""One integration's lane: takes calls from its queue, makes them, and books how they end. No lane waits for another."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from forwarder.calls import Call, Outcome, Trouble, fail, judge
from forwarder.clock import Clock
from forwarder.errors import PutError, SpoolError
from forwarder.lane_queue import LaneQueue
from forwarder.model import Delivery, Destination, EntryResult, IntegrationStatus, Reason
from forwarder.ops.metrics import Metrics
from forwarder.ops.snapshot import LaneView
from forwarder.region_gate import RegionGate
from forwarder.rules.retry import CALL_PAUSES, backoff
from forwarder.sinks.base import Sink
from forwarder.spool.base import Settlement, Spool

log = structlog.get_logger()

LONGEST_WAIT = 60.0  # seconds; whatever a lane waits for, it looks again, so that no jump of the clock can strand it
UNSETTLED_CALLS = 128  # made but not booked yet; more would mean that the spool cannot be written
SPOOL_PAUSE = 0.5
FAILURES_IN_A_ROW = 4  # without a call going through between them: the lane stops and sends one at a time
PASSING = frozenset({Reason.THROTTLED, Reason.SERVER_ERROR})  # what may befall one call and not the next


class LaneContext(msgspec.Struct, frozen=True):
    """What all lanes share."""

    spool: Spool
    sink: Sink
    gate: Callable[[str], RegionGate]
    """The gate of a region."""
    metrics: Metrics
    clock: Clock
    jitter: Callable[[], float]
    """A random number in [0, 1)."""
    source_gone: Callable[[str, str], None]
    """Told (integration id, message) when the service does not know the event source."""
    linger: float
    """Seconds that an entry waits for others to fill its call."""


class Lane:
    """See above. `apply` says where to send and whether; `run` is its loop."""

    def __init__(
        self,
        integration_id: str,
        queue: LaneQueue,
        context: LaneContext,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self.id = integration_id
        self._spawn = spawn  # starts a named task beside the lane's own
        self.queue = queue
        self._context = context
        self._clock = context.clock
        self._destination: Destination | None = None  # None: paused
        self._draining = False
        self._wake = asyncio.Event()
        self._calls = 0  # made and not booked
        self._unbooked = False  # the spool took no settlement last time: what is sent now may be sent again
        self._sending = 0  # deliveries in calls that wait for an answer
        self._failures = 0  # of calls, since one went through
        self._pauses = 0  # of the lane, in a row
        self._retry_at = float("-inf")  # monotonic
        self._trouble: str | None = None
        self._last_delivered_at: float | None = None

    # What others say to it

    def apply(self, status: IntegrationStatus | None) -> None:
        """Send as this status says; None or `sends` False pauses. Calls under way go on."""
        destination = status.destination if status and status.sends else None
        if destination == self._destination:
            return
        if self._destination:
            self._context.gate(self._destination.region).leave(self.id)
        if destination:
            self._context.gate(destination.region).join(self.id)
        self._destination = destination
        self._forget_trouble()
        self._wake.set()

    def offer(self, first: int, last: int, deliveries: Sequence[Delivery]) -> None:
        """Hear of what was just appended to the log as rows `first` to `last`."""
        self.queue.offer(first, last, deliveries)
        if deliveries:
            self._wake.set()

    def look(self) -> None:
        """Look again: there may be more to do, such as parked entries that are due."""
        self.queue.note_parked(self._clock.now())
        self._wake.set()

    def move_on(self) -> None:
        """Where nothing waits for this lane, book that it has passed what lies in the log for others; and have it read
        on if it is behind: nobody wakes it for what is not for it."""
        if self.queue.oldest() is None and self._calls < UNSETTLED_CALLS:
            self._launch(self.queue.take_expired(self._clock.now()), None)
        self._wake.set()

    @property
    def finished(self) -> bool:
        """Whether all there is for this lane is sent and booked."""
        return self.queue.finished and not self._calls

    def drain(self) -> None:
        """Send what is in memory without lingering, then end. What is only in the log stays there."""
        self._draining = True
        self._wake.set()

    def view(self) -> LaneView:
        """The lane's numbers now."""
        wait = self._retry_at - self._clock.monotonic()
        retry_at = self._clock.now() + wait if self._trouble and wait > 0 else None
        return LaneView(self.queue.waiting, self._sending, self._trouble, retry_at, self._last_delivered_at)

    # The loop

    async def run(self) -> None:
        """Until drained or cancelled."""
        await self._opened()
        while not self._done():
            await self.step()

    async def _opened(self) -> None:
        while True:
            try:
                return await self.queue.open()
            except SpoolError as error:
                log.warning("spool_trouble", integration=self.id, error=str(error))
                await self._clock.sleep(SPOOL_PAUSE)

    def _done(self) -> bool:
        idle = not self.queue.full() and self.queue.oldest() is None
        return self._draining and not self._calls and (idle or not self._destination or bool(self._trouble))

    async def step(self) -> None:
        """Wait until there is a call to make, then start it."""
        self._wake.clear()
        try:
            if not self._draining:
                await self.queue.refill(self._clock.now())
        except SpoolError as error:
            log.warning("spool_trouble", integration=self.id, error=str(error))
            return await self._wait(SPOOL_PAUSE)
        if (until_send := self._until_send()) <= 0:
            return await self._start_call()
        if (until_expiry := self._until_expiry()) <= 0:
            return self._launch(self.queue.take_expired(self._clock.now()), None)
        return await self._wait(min(until_send, until_expiry))

    def _until_expiry(self) -> float:
        return LONGEST_WAIT if self._calls >= UNSETTLED_CALLS else self.queue.until_expiry(self._clock.now())

    def _until_send(self) -> float:
        """Seconds until there may be a call to send."""
        if not self._destination or self._calls >= UNSETTLED_CALLS or self._unbooked:
            return LONGEST_WAIT
        wait = self._next_send() - self._clock.now()
        if self._trouble:
            # One call at a time shows whether the destination is back.
            return LONGEST_WAIT if self._calls else max(wait, self._retry_at - self._clock.monotonic())
        return wait

    def _next_send(self) -> float:
        """When (epoch seconds) there will be something to send; in the past where there is already."""
        now = self._clock.now()
        if self.queue.full():
            return now
        times = []
        if (oldest := self.queue.oldest()) is not None:
            # Received in the future: the clock was set back, and nobody knows how long it has lingered.
            times.append(now if self._draining or oldest > now else oldest + self._context.linger)
        if not self._draining and (parked := self.queue.next_parked()) is not None:
            times.append(parked)
        return min(times, default=float("inf"))

    async def _wait(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(min(seconds, LONGEST_WAIT), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    # One call

    async def _start_call(self) -> None:
        destination = self._destination
        if destination is None:
            return
        gate = self._context.gate(destination.region)
        await gate.acquire(self.id)
        # Taken only now: while it waited the call may have filled up, the destination have changed or be in trouble.
        call = self._take(destination) if destination is self._destination and self._until_send() <= 0 else None
        if call is None or not call.send:
            gate.withdraw(self.id)
        self._launch(call, destination)

    def _take(self, destination: Destination) -> Call | None:
        sink = self._context.sink
        return self.queue.take(
            self._clock.now(),
            size=partial(sink.entry_size, destination),
            fault=partial(sink.entry_fault, destination),
        )

    def _launch(self, call: Call | None, destination: Destination | None) -> None:
        if call is not None and (call.send or call.stretch or call.parked):
            self._calls += 1
            self._spawn(self._carry_out(call, destination), f"call:{self.id}")

    async def _carry_out(self, call: Call, destination: Destination | None) -> None:
        """Make the call, where it has anything to send, and book how it ended."""
        try:
            outcome = await self._send(call, destination) if destination and call.send else self._judge(call, ())
            self._react(outcome, destination)
            await self._book(outcome.settlement)
            if outcome.again:
                await self._pause_alone(outcome)
                self.queue.put_back(*outcome.again)
            else:
                self.queue.settled(call)
            for parked in outcome.settlement.parked:
                self.queue.note_parked(parked.retry_at)
        finally:
            self._calls -= 1
            self._wake.set()

    async def _send(self, call: Call, destination: Destination) -> Outcome:
        gate = self._context.gate(destination.region)
        started = self._clock.monotonic()
        self._sending += len(call.send)
        failure: PutError | None = None
        results: Sequence[EntryResult] = ()
        try:
            results = await self._context.sink.put(destination, call.send)
            failure = _misaligned(call, results)
        except PutError as error:
            failure = error
        except Exception as error:
            log.exception("sink_failed", integration=self.id)  # a fault in the sink; the lane lives on
            failure = PutError(Reason.BAD_ANSWER, type(error).__name__, str(error))
        finally:
            self._sending -= len(call.send)
            gate.release(self.id, started, failure.reason if failure else None)
        seconds = self._clock.monotonic() - started
        outcome = fail(self.id, call, failure, self._clock.now()) if failure else self._judge(call, results)
        self._context.metrics.observe_put(destination.region, outcome.label, seconds, len(call.send))
        return outcome

    def _judge(self, call: Call, results: Sequence[EntryResult]) -> Outcome:
        return judge(self.id, call, results, self._clock.now(), self._context.jitter)

    def _react(self, outcome: Outcome, destination: Destination | None) -> None:
        """Let the lane's own state, the metrics and the log follow what happened."""
        if outcome.accepted:
            now = self._last_delivered_at = self._clock.now()
            waited = [now - delivery.notification.received_at for delivery in outcome.accepted]
            self._context.metrics.observe_deliveries(self.id, waited)
        if outcome.trouble and destination is self._destination:  # else it is not the trouble of where it sends now
            self._note_failure(outcome.trouble)
        elif outcome.accepted:
            self._recovered()
        for letter in outcome.settlement.dead[:1]:
            log.warning(
                "dead_lettered",
                integration=self.id,
                reason=letter.reason,
                code=letter.code,
                error=letter.message,
                topic=letter.delivery.notification.topic,
                event_id=letter.delivery.notification.id,
                entries=len(outcome.settlement.dead),
            )

    async def _pause_alone(self, outcome: Outcome) -> None:
        """A call that failed between others that went through waits by itself and holds nobody up."""
        if outcome.trouble and not self._trouble:
            await self._clock.sleep(backoff(1, CALL_PAUSES, jitter=self._context.jitter()))

    def _note_failure(self, trouble: Trouble) -> None:
        """Some failures in a row, or one that says it itself, mean trouble of the whole destination."""
        self._failures += 1
        lasting = trouble.reason not in PASSING or trouble.at_least > 0
        if lasting or self._trouble or self._failures >= FAILURES_IN_A_ROW:
            self._back_off(trouble)

    def _back_off(self, trouble: Trouble) -> None:
        """Pause. Calls that were under way when the pause began do not lengthen it."""
        now = self._clock.monotonic()
        if self._trouble is None or now >= self._retry_at:
            self._pauses += 1
            pause = backoff(self._pauses, CALL_PAUSES, jitter=self._context.jitter(), at_least=trouble.at_least)
            self._retry_at = now + pause
        self._trouble = f"{trouble.reason}: {trouble.message}"
        log.warning(
            "destination_trouble",
            integration=self.id,
            reason=trouble.reason,
            error=trouble.message,
            failures=self._failures,
            retry_in=round(self._retry_at - now, 3),
        )
        if trouble.reason is Reason.SOURCE_GONE:
            self._context.source_gone(self.id, trouble.message)

    def _recovered(self) -> None:
        if self._trouble:
            log.info("destination_recovered", integration=self.id, failures=self._failures)
        self._forget_trouble()

    def _forget_trouble(self) -> None:
        self._trouble, self._failures, self._pauses, self._retry_at = None, 0, 0, float("-inf")

    async def _book(self, settlement: Settlement) -> None:
        """Settle, however long the spool takes: the call has happened."""
        while True:
            try:
                await self._context.spool.settle(settlement)
            except SpoolError as error:
                self._unbooked = True
                log.warning("spool_trouble", integration=self.id, error=str(error))
                await self._clock.sleep(SPOOL_PAUSE)
            else:
                self._unbooked = False
                return


def _misaligned(call: Call, results: Sequence[EntryResult]) -> PutError | None:
    if len(results) == len(call.send):
        return None
    return PutError(Reason.BAD_ANSWER, "BadAnswer", f"{len(results)} results for {len(call.send)} entries")
