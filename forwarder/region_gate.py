"""The gate that all calls to one region pass: adaptive concurrency, AWS's rate quota, and a fair share for every lane.

A lane may always have its fair share of the limit in flight, whatever the others hold; what is left of the limit goes
to whoever asks first. So a lane whose calls hang can hold the whole limit and still takes nothing from its neighbours.
"""

import asyncio
from collections import Counter

from forwarder.clock import Clock
from forwarder.model import Reason
from forwarder.ops.snapshot import RegionView
from forwarder.rules.concurrency import AimdLimit, TokenBucket

INITIAL_LIMIT = 16
TICK = 0.001  # seconds; the shortest wait for a token, so that no rounding makes it a busy one


class RegionGate:
    """See above. `rate` and `burst` are calls a second and calls at once; `ceiling` is the highest limit."""

    def __init__(self, *, ceiling: int, rate: float, burst: float, clock: Clock) -> None:
        self._clock = clock
        self._limit = AimdLimit(ceiling, min(ceiling, INITIAL_LIMIT))
        self._bucket = TokenBucket(rate, burst, burst, clock.monotonic())
        self._lanes: set[str] = set()
        self._in_flight: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._refill: asyncio.Handle | None = None  # set while a timer runs
        self._throttles = 0
        self._waited = 0.0

    def join(self, lane: str) -> None:
        """Count the lane when shares are dealt."""
        self._lanes.add(lane)

    def leave(self, lane: str) -> None:
        """Count it no more. Calls that it has in flight are still released."""
        self._lanes.discard(lane)
        self._admit()

    async def acquire(self, lane: str) -> None:
        """Wait until the lane may make a call. A lane waits for one call at a time."""
        self._waiting[lane] = asyncio.get_running_loop().create_future()
        since = self._clock.monotonic()
        self._admit()
        try:
            await self._waiting[lane]
        except asyncio.CancelledError:
            if not self._waiting.pop(lane).cancelled():
                self.withdraw(lane)  # let in and cancelled in the same turn
            raise
        finally:
            self._waiting.pop(lane, None)
            self._waited += self._clock.monotonic() - since

    def release(self, lane: str, started_at: float, failure: Reason | None) -> None:
        """Say that a call, begun at `started_at` (monotonic), has ended, and how."""
        if failure is Reason.THROTTLED:
            self._throttles += 1
            self._limit = self._limit.overloaded(started_at, self._clock.monotonic())
        elif failure is None:
            self._limit = self._limit.succeeded(self._in_flight.total())
        self._in_flight[lane] -= 1
        self._admit()

    def withdraw(self, lane: str) -> None:
        """Give a turn back unused."""
        self._in_flight[lane] -= 1
        self._admit()

    def view(self) -> RegionView:
        """The region's numbers now."""
        return RegionView(int(self._limit), self._in_flight.total(), self._throttles, self._waited)

    def _admit(self) -> None:
        """Let in whoever may go, first come first served."""
        for lane, turn in self._waiting.items():
            if turn.done() or not self._may_go(lane):
                continue
            if wait := self._bucket.take(self._clock.monotonic()):
                self._admit_after(wait)
                return
            self._in_flight[lane] += 1
            turn.set_result(None)

    def _may_go(self, lane: str) -> bool:
        limit = int(self._limit)
        share = max(1, limit // max(1, len(self._lanes)))
        return self._in_flight[lane] < share or self._in_flight.total() < limit

    def _admit_after(self, seconds: float) -> None:
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(max(seconds, TICK), self._refilled)

    def _refilled(self) -> None:
        self._refill = None
        self._admit()
