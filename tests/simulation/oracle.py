"""What must hold whatever happens, held against the ground truth: the wire, the database, the broker and the files."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from forwarder.model import Delivery, Destination, IntegrationStatus, State
from forwarder.sinks.eventbridge_entry import entry_size
from forwarder.spool.base import Record, Tally
from tests.simulation.broker import Broker, Published, matches
from tests.simulation.disk import Copy, Disk, Truth
from tests.simulation.loop import Universe

PROMPT_SECONDS = 0.6
"""A healthy lane without backlog sends what was just committed within this."""
SETTLED_SECONDS = 70.0
"""A lane is held to be healthy so long after the last disturbance: longer than any backoff after a passing trouble."""
STALLED_SECONDS = 150.0
DUPLICATE_SECONDS = 3.0


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Trace:
    """What happened, in order: a hash of all of it, and the end of it in words."""

    def __init__(self, universe: Universe, directory: Path) -> None:
        self._universe = universe
        self._directory = str(directory)  # another one in each run, and so no part of the trace
        self._hash = blake2b(digest_size=16)
        self.tail: deque[str] = deque(maxlen=300)

    def add(self, *what: object) -> None:
        """Note one thing."""
        line = f"{self._universe.now:12.6f} {self._universe.steps:7d}  " + " ".join(map(str, what))
        line = line.replace(self._directory, "DIRECTORY")
        self._hash.update(line.encode())
        self.tail.append(line)

    @property
    def digest(self) -> str:
        """Equal for equal traces."""
        return self._hash.hexdigest()


class Limits(msgspec.Struct, frozen=True):
    """What the settings allow one call, one lane and one region."""

    entries: int
    size: int
    ceiling: int
    rate: float
    burst: int


class Oracle:
    """Told of everything by the simulated world; keeps the first violation."""

    def __init__(
        self, universe: Universe, disk: Disk, broker: Broker, trace: Trace, *, limits: Limits, retention: float
    ) -> None:
        self.violation: str | None = None
        self.statuses: dict[str, IntegrationStatus] = {}
        self.wire: Counter[Copy] = Counter()
        self.duplicable: Counter[Copy] = Counter()
        self.in_flight: Counter[tuple[str, str]] = Counter()  # calls by region and integration
        self.latest_wall = universe.wall()
        self._retention = retention
        self._universe, self._disk, self._broker, self._trace, self._limits = universe, disk, broker, trace, limits
        self._accepted_at: dict[Copy, float] = {}  # of this life
        self._disk_trouble_at = float("-inf")
        self._handed: list[Published] | None = None
        self._expected: dict[int, frozenset[str]] = {}
        self._meant: dict[Copy, set[Destination]] = {}
        self._established: set[tuple[str, Destination]] = set()
        self._deleted: set[tuple[str, str]] = set()
        self._status_changed_at: dict[str, float] = {}
        self._disturbed_at: dict[str, float] = {}
        self._tokens: dict[str, tuple[float, float]] = {}
        self._progress: dict[str, tuple[float, tuple[int, ...]]] = {}
        self.prompt = 0  # deliveries that were held to promptness

    def violate(self, what: str) -> None:
        """Keep the first violation; the loop raises it after the step."""
        if self.violation is None:
            self.violation = what
            self._trace.add("VIOLATION", what)

    def must(self, holds: object, what: str) -> None:
        """An invariant."""
        if not holds:
            self.violate(what)

    # The intake's side

    def handed(self, batch: list[Published]) -> None:
        """The intake has handed over a batch."""
        self._handed = batch
        self._trace.add("handed", [each.number for each in batch])

    def appending(self, records: Sequence[Record], tally: Tally) -> None:
        """The receiver has matched the batch and asks for it to be appended, for the first time or again."""
        batch, self._handed = self._handed, None
        if batch is None:
            return
        expected = Counter(
            (each.event_id, integration_id) for each in batch for integration_id in self._matching(each.topic)
        )
        found = Counter((r.notification.id, name) for r in records for name in r.route.integration_ids)
        self.must(found == expected, f"matched wrongly: too many {found - expected}, too few {expected - found}")
        malformed = sum(each.topic is None for each in batch)
        matched = sum(bool(self._matching(each.topic)) for each in batch)
        booked = (tally.received, tally.malformed, tally.matched)
        self.must(booked == (len(batch), malformed, matched), f"tally {booked} of {len(batch)}, {malformed}, {matched}")
        for each in batch:
            self._expected[each.number] = frozenset(self._matching(each.topic))
            for name in self._expected[each.number]:
                self._meant.setdefault((each.event_id, name), set()).add(self.statuses[name].destination)

    def _matching(self, topic: str | None) -> list[str]:
        if topic is None:
            return []
        return [
            name
            for name, status in self.statuses.items()
            if status.takes_events and any(matches(f, topic) for f in status.integration.topic_filters)
        ]

    def acknowledging(self, batch: Iterable[Published]) -> None:
        """The receiver says that the batch is safe."""
        for each in batch:
            expected = self._expected.get(each.number)
            self.must(expected is not None, f"message {each.number} was acknowledged before it was matched")
            for name in expected or ():
                safe = self._disk.synced[each.event_id, name] > 0
                self.must(safe, f"message {each.number} was acknowledged before it was on disk for {name}")

    # What the integrations are

    def published(self, statuses: Iterable[IntegrationStatus]) -> None:
        """The daemon has published its statuses, and let its parts follow."""
        before, self.statuses = self.statuses, {each.integration.id: each for each in statuses}
        for name, status in self.statuses.items():
            old = before.get(name)
            if old != status:
                self._trace.add("status", name, status.state, status.takes_events, status.sends, status.destination)
            if old is None or (old.sends, old.destination) != (status.sends, status.destination):
                self._status_changed_at[name] = self._universe.now
                self.disturb(name)
            if status.state is State.ACTIVE:
                self._established.add((name, status.destination))
            for topic_filter in status.integration.topic_filters if status.takes_events else ():
                covered = any(matches(f, topic_filter) or f == topic_filter for f in self._subscribed())
                self.must(covered, f"{name} takes {topic_filter}, and nothing subscribes to it")

    def _subscribed(self) -> frozenset[str]:
        return self._broker.subscribed

    def disturb(self, *names: str) -> None:
        """From now on nothing is expected of these integrations for a while; without names, of all."""
        for name in names or [*self.statuses, *self._disturbed_at]:
            self._disturbed_at[name] = self._universe.now

    def disk_trouble(self) -> None:
        """The disk is, or was, faulty."""
        self._disk_trouble_at = self._universe.now
        self.disturb()

    def _undisturbed(self, name: str, seconds: float) -> bool:
        return self._universe.now - self._disturbed_at.get(name, self._universe.now) > seconds

    # The wire

    def deleting(self, region: str, source: str) -> None:
        """The daemon deletes a source."""
        self._deleted.add((region, source))
        self._trace.add("delete", region, source)

    def creating(self, region: str, source: str) -> None:
        """The daemon creates a source."""
        self._deleted.discard((region, source))
        self._trace.add("create", region, source)

    def calling(self, destination: Destination, deliveries: Sequence[Delivery]) -> None:
        """A call begins."""
        names = {delivery.integration_id for delivery in deliveries}
        self.must(len(names) == 1, f"a call for {names}")
        name = deliveries[0].integration_id
        self._trace.add("call", name, destination.event_source_name, [d.seq for d in deliveries])
        self._check_limits(name, destination, deliveries)
        self._check_destination(name, destination)
        for delivery in deliveries:
            self._check_entry(name, destination, delivery)
        self.in_flight[destination.region, name] += 1

    def ended(self, destination: Destination, deliveries: Sequence[Delivery]) -> None:
        """A call has ended."""
        self.in_flight[destination.region, deliveries[0].integration_id] -= 1

    def _check_limits(self, name: str, destination: Destination, deliveries: Sequence[Delivery]) -> None:
        limits, region = self._limits, destination.region
        self.must(len(deliveries) <= limits.entries, f"{len(deliveries)} entries in a call")
        size = sum(entry_size(destination, delivery) for delivery in deliveries)
        self.must(size <= limits.size, f"{size} bytes in a call")
        mine = self.in_flight[region, name] + 1
        self.must(mine <= limits.ceiling, f"{mine} calls of {name} in flight")
        all_of_them = sum(calls for (where, _), calls in self.in_flight.items() if where == region) + 1
        # What is left of the limit goes to whoever asks, and everybody's fair share, of one call at least, on top.
        lanes = len({who for (where, who), _ in self.in_flight.items() if where == region} | {name})
        self.must(
            all_of_them <= limits.ceiling + max(limits.ceiling, lanes), f"{all_of_them} calls in flight in {region}"
        )
        tokens, since = self._tokens.get(region, (float(limits.burst), self._universe.now))
        tokens = min(limits.burst, tokens + (self._universe.now - since) * limits.rate) - 1
        self._tokens[region] = (tokens, self._universe.now)
        self.must(tokens >= -0.001, f"more calls to {region} than its rate allows")

    def _check_destination(self, name: str, destination: Destination) -> None:
        gone = (destination.region, destination.event_source_name) in self._deleted
        self.must(not gone, f"{name} sends to {destination}, which was deleted")
        status = self.statuses.get(name)
        as_published = status is not None and status.sends and status.destination == destination
        just_changed = self._status_changed_at.get(name) == self._universe.now
        self.must(as_published or just_changed, f"{name} sends to {destination}, but its status is {status}")

    def _check_entry(self, name: str, destination: Destination, delivery: Delivery) -> None:
        copy = (delivery.notification.id, name)
        self.must(delivery.integration_id == name and self._disk.appended[copy], f"{copy} was never matched, but sent")
        meant = self._meant.get(copy, set())
        replaced = all((name, other) in self._established for other in meant)
        fits = destination in meant or not replaced or copy in self._disk.redriven
        self.must(fits, f"{copy} was accepted for {meant}, but sent to {destination}")
        if delivery.attempts == 0 and copy not in self._accepted_at:
            committed_at = self._disk.committed_at.get(copy, 0.0)
            # It was healthy when the copy was committed, and nothing has happened since.
            if self._undisturbed(name, SETTLED_SECONDS + self._universe.now - committed_at):
                self.prompt += 1
                waited = self._universe.now - committed_at
                self.must(waited <= PROMPT_SECONDS, f"{name} is healthy, and {copy} waited {waited:.3f} s for its call")

    def accepted(self, destination: Destination, deliveries: Sequence[Delivery], lost: bool) -> None:
        """The service has taken these; where `lost`, the caller will not learn of it."""
        self._trace.add("taken", destination.event_source_name, [d.seq for d in deliveries], "lost" if lost else "")
        for delivery in deliveries:
            copy = (delivery.notification.id, delivery.integration_id)
            self.wire[copy] += 1
            self._accepted_at[copy] = self._universe.now
            self.duplicable[copy] += lost

    # Progress

    def watch_progress(self, counters: dict[str, tuple[int, ...]], backlog: Iterable[str]) -> None:
        """Called every few seconds with what each integration has done so far, and which have work in the log."""
        waiting = set(backlog)
        for name, done in counters.items():
            since, before = self._progress.get(name, (self._universe.now, ()))
            status = self.statuses.get(name)
            healthy = status is not None and status.sends and self._undisturbed(name, STALLED_SECONDS)
            if done != before or name not in waiting or not healthy:
                self._progress[name] = (self._universe.now, done)
            elif self._universe.now - since > STALLED_SECONDS:
                self.violate(f"{name} is healthy, has work, and did nothing for {self._universe.now - since:.0f} s")

    # The books

    def check_books(self, truth: Truth) -> None:
        """The counters say what is really there."""
        pending: Counter[str] = Counter()
        for (_, name), number in truth.pending.items():
            pending[name] += number
        matched: Counter[str] = Counter()
        for (_, name), number in self._disk.appended.items():
            matched[name] += number
        for name in {name for (_, name, _) in truth.counters} | set(pending) | set(matched):
            ended = sum(truth.booked(what, name) for what in ("delivered", "expired", "dead_lettered"))
            booked = truth.booked("matched", name)
            self.must(booked == matched[name], f"{name}: booked {booked} as matched, but {matched[name]} were appended")
            says = f"{name}: {booked} matched, {ended} ended, and really pending are {pending[name]}"
            self.must(booked - ended == pending[name], says)

    def life_ended(self, truth: Truth, *, clean: bool, power_cut: bool) -> None:
        """The daemon is gone. After a clean stop nothing may be sent again; else what was under way may be."""
        self.check_books(truth)
        for copy in self._disk.appended:
            excess = self._outcomes(copy, truth) - self._disk.appended[copy] - self.duplicable[copy]
            if excess <= 0:
                continue
            recent = self._universe.now - self._accepted_at.get(copy, float("-inf")) < DUPLICATE_SECONDS
            after_disk = copy in self._accepted_at and self._universe.now - self._disk_trouble_at < 60
            undone = power_cut and copy in self._accepted_at
            if not clean and (recent or after_disk or undone):
                self.duplicable[copy] += excess
        self.check_copies(truth)
        self._accepted_at.clear()
        self.in_flight.clear()
        self._handed = None
        self.statuses = {}
        self._tokens = {}
        self._progress = {}

    def _outcomes(self, copy: Copy, truth: Truth) -> int:
        return (
            self.wire[copy] + truth.dead[copy] + self._disk.ended_before[copy] + truth.in_log[copy] + truth.parked[copy]
        )

    def check_copies(self, truth: Truth) -> None:
        """Each copy that was appended has ended, or is pending, once; more often only where that cannot be helped."""
        missing: Counter[str] = Counter()
        for copy, appended in self._disk.appended.items():
            outcomes = self._outcomes(copy, truth)
            says = f"{copy}: appended {appended}, sent {self.wire[copy]}, dead {truth.dead[copy]}"
            says += f", in the log {truth.in_log[copy]}, parked {truth.parked[copy]}"
            self.must(outcomes <= appended + self.duplicable[copy], f"{says}; may be doubled {self.duplicable[copy]}")
            if outcomes < appended:
                missing[copy[1]] += appended - outcomes
                old = self.latest_wall - self._disk.received_at[copy] >= self._retention
                self.must(old, f"lost {says}")
        for name, number in missing.items():
            expired = truth.booked("expired", name)
            self.must(number <= expired, f"{name}: {number} are gone, and {expired} expired")
        for name in {name for _, name in self._disk.appended}:
            delivered, sent = (
                truth.booked("delivered", name),
                sum(n for (_, who), n in self.wire.items() if who == name),
            )
            self.must(delivered <= sent, f"{name}: booked {delivered} as delivered, but sent {sent}")
