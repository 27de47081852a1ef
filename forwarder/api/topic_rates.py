"""`/api/topics/rates`: how often each topic flows now, by its template, among the events that some integration gets."""

from collections import Counter
from collections.abc import Sequence

import msgspec
from aiohttp import web

from forwarder.api.operation import Operation, json
from forwarder.clock import Clock
from forwarder.spool.base import Record

WINDOW_SECONDS = 10.0
MAX_TEMPLATES = 5_000
"""A filter that ends in `#` can let any number of unknown topics in."""


class Rates(msgspec.Struct, frozen=True):
    """Events per second by template over the last `seconds`. A template that did not flow is not there."""

    seconds: float
    rates: dict[str, float]


class TopicRates:
    """Counts in windows of ten seconds; the rate is that of the last full window and the one that is not full yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._before_since = self._since = clock.monotonic()

    def count(self, records: Sequence[Record]) -> None:
        """Count what has just become durable."""
        self._turn()
        counts = self._counts
        if len(counts) < MAX_TEMPLATES:
            counts.update([record.route.detail_type for record in records])

    def rates(self) -> Rates:
        """The rates now."""
        self._turn()
        seconds = max(self._clock.monotonic() - self._before_since, 1.0)
        total = self._before + self._counts
        return Rates(round(seconds, 3), {name: round(total[name] / seconds, 3) for name in sorted(total)})

    def operation(self) -> Operation:
        """The route."""

        async def rates(_request: web.Request) -> web.Response:
            return json(self.rates())

        return Operation("GET", "/api/topics/rates", "topicRates", "How often each topic flows now", rates, Rates)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        age = now - self._since
        if age < WINDOW_SECONDS:
            return
        stale = age >= 2 * WINDOW_SECONDS
        self._before = Counter() if stale else self._counts
        self._before_since = now - WINDOW_SECONDS if stale else self._since
        self._counts, self._since = Counter(), now
