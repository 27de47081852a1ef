"""The events that reached a customer's bus, the last of them kept to be read back."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """One delivered event. `time` is in epoch seconds, `detail` the JSON object exactly as it was sent."""

    sequence: int
    id: str
    detail_type: str
    source: str
    account: str
    time: float
    region: str
    resources: tuple[str, ...]
    detail: bytes
    size: int

    def envelope(self) -> bytes:
        """The event as a rule's target gets it, as JSON, with its `sequence` added. `detail` is not re-encoded."""
        return msgspec.json.encode(
            _Envelope(
                version="0",
                id=self.id,
                detail_type=self.detail_type,
                source=self.source,
                account=self.account,
                time=datetime.fromtimestamp(int(self.time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                region=self.region,
                resources=self.resources,
                detail=msgspec.Raw(self.detail),
                sequence=self.sequence,
            )
        )


class _Envelope(msgspec.Struct, frozen=True, rename={"detail_type": "detail-type"}):
    version: str
    id: str
    detail_type: str
    source: str
    account: str
    time: str
    region: str
    resources: tuple[str, ...]
    detail: msgspec.Raw
    sequence: int


class EventLog:
    """The last events, bounded by count and by bytes (by the formula of the service's own limit). Sequence numbers
    start at 1 and have no gaps; the newest event is always kept, however large."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: dict[int, Event] = {}
        self.oldest = 1
        self.last = 0
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def evicted(self) -> int:
        """How many events have been forgotten."""
        return self.oldest - 1

    def append(self, event: Event) -> None:
        """Keep an event, whose sequence must be `last + 1`, and forget old ones for it."""
        self.last = event.sequence
        self._events[event.sequence] = event
        self.kept_bytes += event.size
        while len(self._events) > self._max_events or (self.kept_bytes > self._max_bytes and self.oldest < self.last):
            self.kept_bytes -= self._events.pop(self.oldest).size
            self.oldest += 1

    def since(self, sequence: int) -> Iterator[Event]:
        """The kept events after a sequence number, oldest first."""
        for number in range(max(sequence + 1, self.oldest), self.last + 1):
            yield self._events[number]
