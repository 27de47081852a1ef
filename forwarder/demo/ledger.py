"""Who is owed what: every notification that an integration's filters match has to arrive at its event source. Held
against what has arrived, notification by notification, it does not depend on the daemon's own books. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from forwarder.model import IntegrationStatus
from forwarder.rules.topic_filter import TopicFilter, parse_topic_filters

GRACE = 2.0
"""Seconds around a change of an integration in which the old filters or the new ones may hold."""

_Filters = tuple[TopicFilter, ...]


class _Body(msgspec.Struct):
    sequence: int


class _Detail(msgspec.Struct):
    body: _Body = msgspec.field(name="eventBody")


class Ledger:
    """Notifications are known by their `eventBody.sequence`, integrations by their event source. Times are seconds of
    one steady clock."""

    def __init__(self) -> None:
        self._filters: dict[str, _Filters] = {}
        self._changed_at: dict[str, float] = {}
        self._owed: dict[tuple[str, int], float] = {}  # event source and sequence -> when it was published

    def follow(self, statuses: Sequence[IntegrationStatus], now: float) -> None:
        """Take note of what the integrations want now. After the first time, what is new or different is a change."""
        wanted = {
            each.destination.event_source_name: parse_topic_filters(each.integration.topic_filters)
            for each in statuses
            if each.takes_events
        }
        if wanted == self._filters:
            return
        if self._filters:
            changed = {name for name in wanted | self._filters if wanted.get(name) != self._filters.get(name)}
            self._changed_at |= dict.fromkeys(changed, now)
            self._owed = {
                (source, number): at
                for (source, number), at in self._owed.items()
                if source not in changed or (source in wanted and now - at > GRACE)
            }
        self._filters = wanted

    def publish(self, sequence: int, topic: str, now: float) -> None:
        """A notification is on its way."""
        for source, filters in self._filters.items():
            settled = now - self._changed_at.get(source, -GRACE) >= GRACE
            if settled and any(each.mismatch(topic) is None for each in filters):
                self._owed[source, sequence] = now

    def deliver(self, events: Iterable[tuple[str, bytes]]) -> None:
        """These have arrived: event source and detail. What somebody else published has no sequence, or another."""
        for source, detail in events:
            try:
                sequence = msgspec.json.decode(detail, type=_Detail).body.sequence
            except msgspec.DecodeError:
                continue
            self._owed.pop((source, sequence), None)

    def missing(self) -> Counter[str]:
        """How many notifications have not arrived, by event source; empty when all have."""
        return Counter(source for source, _ in self._owed)
