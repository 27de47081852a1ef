"""`/api/tap`: a live copy of the events that are matched, as server-sent events, for as long as somebody watches.

An event is copied when it is safe in the spool and on its way. Nobody listening costs nothing; a listener that is
slower than the stream misses events and is told how many, and no event ever waits for one.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
from aiohttp import web

from forwarder.api.operation import Operation
from forwarder.api.reading import read_query
from forwarder.clock import Clock
from forwarder.ops.refusals import Fault, Refused
from forwarder.rules.filter_index import FilterIndex
from forwarder.rules.topic_filter import TopicFilter, TopicFilterError, parse_topic_filter
from forwarder.spool.base import Record

PATH = "/api/tap"
MAX_LISTENERS = 16
MAX_WAITING = 500
MAX_WAITING_BYTES = 4 * 1024 * 1024
WRITE_SECONDS = 0.25  # between two writes; with MAX_WAITING it bounds what one listener costs
SILENCE_SECONDS = 15.0  # after which a comment shows that the stream is alive


class TapQuery(msgspec.Struct, frozen=True):
    """What to watch: one integration's events, and the topics that a filter matches. Both may be left out."""

    integration: str | None = None
    topic: str | None = None


class Tapped(msgspec.Struct, frozen=True):
    """One event for one integration. `detail` is its JSON text as it is delivered; `time` and `received_at` are epoch
    seconds."""

    integration: str
    detail_type: str
    topic: str
    id: str
    time: int
    received_at: float
    detail: str


class Listener:
    """What one client watches and has not been sent yet."""

    def __init__(self, integration_id: str | None, filters: Sequence[TopicFilter]) -> None:
        self._integration_id = integration_id
        self._filters = FilterIndex((each, True) for each in filters) if filters else None
        self._waiting: deque[tuple[Record, str]] = deque()
        self._bytes = 0
        self._dropped = 0

    def offer(self, records: Sequence[Record]) -> None:
        """Keep what is watched, as far as there is room."""
        for record in records:
            if self._filters and not self._filters.match(record.notification.topic):
                continue
            for integration_id in record.route.integration_ids:
                if self._integration_id in (None, integration_id):
                    self._keep(record, integration_id)

    def _keep(self, record: Record, integration_id: str) -> None:
        if len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
            self._dropped += 1
            return
        self._waiting.append((record, integration_id))
        self._bytes += len(record.notification.detail)

    def take(self) -> bytes:
        """All that waits, as server-sent events (HTML Living Standard, 9.2)."""
        waiting, dropped = list(self._waiting), self._dropped
        self._waiting.clear()
        self._bytes = self._dropped = 0
        return b"".join(_messages(waiting, dropped))


class Tap:
    """All who watch. `offer` is called with what has just become durable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: set[Listener] = set()
        self._closed = asyncio.Event()

    def offer(self, records: Sequence[Record]) -> None:
        """Let those who watch have a copy."""
        for listener in self._listeners:
            listener.offer(records)

    def close(self) -> None:
        """End all streams."""
        self._closed.set()

    def operation(self) -> Operation:
        """The route."""
        return Operation(
            "GET", PATH, "tap", "Watch events as they are matched", self._watch, "text/event-stream", TapQuery
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        listener = _listener(read_query(TapQuery, request.query))
        if len(self._listeners) >= MAX_LISTENERS:
            raise Refused(503, f"{MAX_LISTENERS} clients watch already.")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        self._listeners.add(listener)
        try:
            await response.write(b": watching\n\n")
            await self._write(response, listener)
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._listeners.discard(listener)
        return response

    async def _write(self, response: web.StreamResponse, listener: Listener) -> None:
        spoken_at = self._clock.monotonic()
        while not self._closed.is_set():
            text = listener.take()
            if not text and self._clock.monotonic() - spoken_at >= SILENCE_SECONDS:
                text = b": nothing\n\n"
            if text:
                await response.write(text)
                spoken_at = self._clock.monotonic()
            await self._pause()
        await response.write(b"event: end\ndata: {}\n\n")

    async def _pause(self) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(WRITE_SECONDS))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([timer, closed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            closed.cancel()


def _listener(query: TapQuery) -> Listener:
    try:
        return Listener(query.integration, parse_topic_filter(query.topic) if query.topic else ())
    except TopicFilterError as error:
        raise Refused(400, faults=[Fault(str(error), "topic")]) from None


def _messages(waiting: Sequence[tuple[Record, str]], dropped: int) -> Iterator[bytes]:
    for record, integration_id in waiting:
        notification = record.notification
        event = Tapped(
            integration_id,
            record.route.detail_type,
            notification.topic,
            notification.id,
            notification.time,
            notification.received_at,
            notification.detail.decode(errors="replace"),
        )
        yield b"event: event\ndata: " + msgspec.json.encode(event) + b"\n\n"
    if dropped:
        yield b'event: dropped\ndata: {"count":%d}\n\n' % dropped
