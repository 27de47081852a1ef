"""What was published and what arrived: the one judge of all tests that put load on the daemon."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from forwarder.emulator.event_log import Event, EventLog
from forwarder.emulator.http import Emulator

_NUMBER = re.compile(rb'"number":(\d+)')
_PAD = "x" * 250

PREFIX = "aws.partner/genesys.com/cloud/acme/"


def topic(number: int, kind: str) -> str:
    return f"v2.users.u{number % 50}.{kind}"


def payload(number: int, kind: str) -> bytes:
    """The notification of that number, always the same bytes, with what a careless forwarder would rewrite."""
    return (
        f'{{"topicName":"{topic(number, kind)}","version":"2",'
        f'"eventBody":{{"number":{number},"rate":1.0,"huge":1e400,"text":"\\u00e9\\/","pad":"{_PAD}"}}}}'
    ).encode()


class Lane(msgspec.Struct):
    """What one integration must have, and has."""

    wanted: dict[int, float] = msgspec.field(default_factory=dict)
    """Acknowledged numbers, with the monotonic time of publishing."""
    arrived: Counter[int] = msgspec.field(default_factory=Counter)
    waits: dict[int, float] = msgspec.field(default_factory=dict)
    """Seconds from publishing to the first arrival."""

    @property
    def missing(self) -> set[int]:
        return self.wanted.keys() - self.arrived.keys()

    @property
    def twice(self) -> int:
        """Arrivals beyond the first."""
        return self.arrived.total() - len(self.arrived)

    def percentile(self, percent: float, numbers: Sequence[int] | None = None) -> float:
        """Of the waits in seconds; of all messages or of these."""
        waits = sorted(self.waits if numbers is None else (n for n in numbers if n in self.waits), key=self.waits.get)  # type: ignore[arg-type]  # every key is there
        return self.waits[waits[min(len(waits) - 1, int(len(waits) * percent / 100))]] if waits else float("nan")


class Oracle:
    """Watches the emulator's deliveries as they happen. `wants` says which integrations get which kind of topic."""

    def __init__(self, emulator: Emulator, wants: Mapping[str, Sequence[str]]) -> None:
        self.wants = wants
        self.lanes: dict[str, Lane] = defaultdict(Lane)
        self.strays: list[str] = []
        self.damaged: list[int] = []
        self._kinds: dict[int, str] = {}
        self._sent_at: dict[int, float] = {}
        emulator.state.log = _Watched(self)

    def sent(self, number: int, kind: str, at: float) -> None:
        self._kinds[number] = kind
        self._sent_at[number] = at

    def acknowledged(self, number: int) -> None:
        for integration_id in self.wants.get(self._kinds.get(number, ""), ()):
            self.lanes[integration_id].wanted[number] = self._sent_at[number]

    def arrived(self, event: Event) -> None:
        now = time.monotonic()
        found = _NUMBER.search(event.detail)
        if found is None:
            return
        number = int(found[1])
        integration_id = event.source.removeprefix(PREFIX)
        kind = self._kinds.get(number, "unknown")
        if integration_id not in self.wants.get(kind, ()):
            self.strays.append(f"{kind} in {integration_id}")
        if not event.detail.startswith(payload(number, kind)[:-1] + b","):
            self.damaged.append(number)
        lane = self.lanes[integration_id]
        lane.arrived[number] += 1
        lane.waits.setdefault(number, now - self._sent_at.get(number, now))

    @property
    def missing(self) -> int:
        return sum(len(lane.missing) for lane in self.lanes.values())

    @property
    def twice(self) -> int:
        return sum(lane.twice for lane in self.lanes.values())

    @property
    def arrivals(self) -> int:
        return sum(lane.arrived.total() for lane in self.lanes.values())


class _Watched(EventLog):
    """Tells the oracle of each event at the moment of its delivery."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(max_events=1000, max_bytes=8 * 1024 * 1024)
        self._oracle = oracle

    def append(self, event: Event) -> None:
        super().append(event)
        self._oracle.arrived(event)
