"""A broker with a persistent session, as MQTT has it, or a stream without acknowledgement; and the intake on it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar

import msgspec

from forwarder.intake.base import IntakeBatch, IntakeHealth, Message
from forwarder.rules.topic_filter import parse_topic_filters
from tests.simulation.loop import Universe

WINDOW = 60  # messages that may be unacknowledged


class Published(msgspec.Struct, frozen=True):
    """One message of the traffic. `topic` is None where it is malformed; `event_id` is the one it will be given."""

    number: int
    topic: str | None
    event_id: str
    message: Message


def matches(topic_filter: str, topic: str) -> bool:
    """The naive matcher: segment by segment."""
    wanted, given = topic_filter.split("."), topic.split(".")
    if wanted[-1] == "#":
        return len(given) >= len(wanted) and all(map(_segment, wanted[:-1], given))
    return len(wanted) == len(given) and all(map(_segment, wanted, given))


def _segment(wanted: str, given: str) -> bool:
    return wanted in ("*", "+") or (wanted.startswith("{") and wanted.endswith("}")) or wanted == given


class Broker:
    """Outlives the daemon. What is published and subscribed to is kept until it is acknowledged."""

    def __init__(self, universe: Universe, *, acknowledges: bool) -> None:
        self.acknowledges = acknowledges
        self.subscribed: frozenset[str] = frozenset()
        self.queue: deque[Published] = deque()
        self.unacknowledged: dict[int, list[Published]] = {}
        self.connected = True
        self.sessions = 0
        self.wake: Callable[[], None] = lambda: None
        self._universe = universe
        self._batches = 0

    def publish(self, published: Iterable[Published]) -> None:
        """Take what anybody has subscribed to."""
        for each in published:
            wanted = each.topic is None or any(matches(f, each.topic) for f in self.subscribed)
            if wanted and (self.acknowledges or self.connected):
                self.queue.append(each)
        self.wake()

    def disconnect(self) -> None:
        """The session is interrupted: what was not acknowledged will be sent again."""
        self.connected = False
        self.sessions += 1
        for batch in reversed(self.unacknowledged.values()):
            self.queue.extendleft(reversed(batch))
        self.unacknowledged.clear()
        if not self.acknowledges:
            self.queue.clear()

    def connect(self) -> None:
        """The session goes on."""
        self.connected = True
        self.wake()

    def take(self) -> tuple[int, list[Published]] | None:
        """Hand over some of what is queued, within the window."""
        room = WINDOW - sum(map(len, self.unacknowledged.values()))
        if not (self.connected and self.queue and room > 0):
            return None
        number = min(room, len(self.queue), self._universe.chance.randint(1, WINDOW))
        batch = [self.queue.popleft() for _ in range(number)]
        self._batches += 1
        if self.acknowledges:
            self.unacknowledged[self._batches] = batch
        return self._batches, batch

    @property
    def idle(self) -> bool:
        """Whether everything is acknowledged."""
        return not self.queue and not self.unacknowledged


class ScriptedIntake:
    """`forwarder.intake.base.Intake` on the broker. `handed` and `acknowledging` are told of every batch."""

    name: ClassVar[str] = "scripted"
    acknowledges: ClassVar[bool] = True

    def __init__(
        self,
        broker: Broker,
        handed: Callable[[list[Published]], None],
        acknowledging: Callable[[list[Published]], None],
    ) -> None:
        self._broker = broker
        self._handed = handed
        self._acknowledging = acknowledging
        self._ready = asyncio.Event()
        broker.wake = self._ready.set

    async def run(self) -> None:
        """The broker's own events do it all."""
        await asyncio.Event().wait()

    async def receive(self) -> IntakeBatch:
        """See Intake."""
        while (taken := self._broker.take()) is None:
            self._ready.clear()
            await self._ready.wait()
        number, batch = taken
        self._handed(batch)
        session = self._broker.sessions
        return IntakeBatch(
            [each.message for each in batch], acknowledge=partial(self._acknowledge, number, batch, session)
        )

    async def _acknowledge(self, number: int, batch: list[Published], session: int) -> None:
        self._acknowledging(batch)
        await asyncio.sleep(0)
        if session == self._broker.sessions:
            self._broker.unacknowledged.pop(number, None)
            self._ready.set()

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """See Intake."""
        self._broker.subscribed = frozenset(str(f) for text in topic_filters for f in parse_topic_filters([text]))

    def health(self) -> IntakeHealth:
        """See Intake."""
        return IntakeHealth(self._broker.connected, "scripted")

    async def close(self) -> None:
        """Nothing to give back."""
