"""What a spool is: the place where a matched notification is safe.

One log, and for every integration a *position* in it: all of that integration's rows up to there are finished. What was
finished beyond it is kept beside it as runs, so that calls may finish in any order and every crash leaves exact books.
Entries that failed alone are *parked* with their own retry time; entries that can
never be delivered are *dead letters*.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from forwarder.model import Delivery, Notification, Reason, Route

Run = tuple[int, int]
"""First and last sequence number, both included, of a stretch of the log as one integration sees it: rows for others
within it do not matter."""

END = (1 << 63) - 1
"""The largest sequence number there can be."""


class Tally(msgspec.Struct, frozen=True):
    """What became of the messages of one intake batch. received = malformed + unmatched + matched."""

    intake: str
    malformed: int
    unmatched: int
    matched: int

    @property
    def received(self) -> int:
        """All messages of the batch."""
        return self.malformed + self.unmatched + self.matched


class Record(msgspec.Struct, frozen=True, gc=False):
    """One row of the log to be: a notification and one of its routes."""

    notification: Notification
    route: Route


class LanePosition(msgspec.Struct, frozen=True):
    """How far a lane has come: all up to `position` is finished, and so are the runs in `done` beyond it.

    `done` is ascending and its runs touch neither each other nor the position: it is as short as calls are in order.
    """

    position: int
    done: tuple[Run, ...] = ()

    def finish(self, run: Run) -> "LanePosition":
        """The position once the run is finished, too."""
        position = self.position
        done: list[Run] = []
        for first, last in sorted((*self.done, run)):
            if first <= position + 1:
                position = max(position, last)
            elif done and first <= done[-1][1] + 1:
                done[-1] = (done[-1][0], max(done[-1][1], last))
            else:
                done.append((first, last))
        return LanePosition(position, tuple(done))

    def next_gap(self, after: int) -> Run:
        """The first unfinished stretch after a sequence number. The last one has no end: it goes to END."""
        first = max(after, self.position) + 1
        for done_first, done_last in self.done:
            if first < done_first:
                return (first, done_first - 1)
            first = max(first, done_last + 1)
        return (first, END)


class Page(msgspec.Struct, frozen=True):
    """Deliveries read from the log, oldest first. The log holds no others of this integration in the run that was asked
    for, up to `scanned_to`."""

    deliveries: Sequence[Delivery]
    scanned_to: int


class Parked(msgspec.Struct, frozen=True):
    """A delivery whose entry failed alone. `delivery.attempts` counts this failure; `retry_at` is in epoch seconds."""

    delivery: Delivery
    retry_at: float
    reason: Reason
    code: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that can never be made, and why. `dead_at` is in epoch seconds."""

    delivery: Delivery
    reason: Reason
    code: str
    message: str
    dead_at: float


class Settlement(msgspec.Struct, frozen=True):
    """How one call ended, for every delivery in it, written in one transaction. `finished` is its stretch of the log;
    None where its deliveries came from the parked table."""

    integration_id: str
    finished: Run | None
    delivered: int = 0
    expired: int = 0
    parked: Sequence[Parked] = ()
    dead: Sequence[DeadLetter] = ()
    unparked: Sequence[int] = ()
    """Sequence numbers that leave the parked table: they ended, or come back through `parked` with one more attempt."""
    retried: Mapping[Reason, int] = {}


class LaneBooks(msgspec.Struct):
    """The books of one integration. matched = delivered + dead_lettered + expired + pending, always."""

    matched: int = 0
    delivered: int = 0
    expired: int = 0
    dead_lettered: dict[Reason, int] = msgspec.field(default_factory=dict)
    retried: dict[Reason, int] = msgspec.field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Deliveries that have not ended yet."""
        return self.matched - self.delivered - self.expired - sum(self.dead_lettered.values())


class IntakeBooks(msgspec.Struct):
    """The books of one intake. received = malformed + unmatched + matched, always."""

    malformed: int = 0
    unmatched: int = 0
    matched: int = 0

    @property
    def received(self) -> int:
        """All messages that were received and acknowledged."""
        return self.malformed + self.unmatched + self.matched


class Books(msgspec.Struct):
    """All counters that survive a restart, as of the last commit."""

    intakes: dict[str, IntakeBooks] = msgspec.field(default_factory=dict)
    lanes: dict[str, LaneBooks] = msgspec.field(default_factory=dict)


class DeadLetterFilter(msgspec.Struct, frozen=True):
    """Which dead letters are meant. None means any; ages are in seconds; `ids` are DeadLetterRow ids."""

    integration_id: str | None = None
    reason: Reason | None = None
    older_than: float | None = None
    ids: tuple[int, ...] | None = None


class DeadLetterRow(msgspec.Struct, frozen=True):
    """A stored dead letter with its number in the store."""

    id: int
    letter: DeadLetter


class Discrepancy(msgspec.Struct, frozen=True):
    """An integration whose books say something else than what is in the log and the parked table."""

    integration_id: str
    pending: int  # by the books
    found: int

    def __str__(self) -> str:
        """A sentence."""
        return f"{self.integration_id}: the books say {self.pending} pending, the spool holds {self.found}"


class SpoolUsage(msgspec.Struct, frozen=True):
    """How full the spool is. `oldest_received_at` is the epoch time of receipt of the oldest pending event."""

    bytes_used: int
    bytes_limit: int
    oldest_received_at: float | None


class Spool(Protocol):
    """The durable log. Every engine passes `tests/integration/spool/conformance.py`.

    Unless said otherwise the methods raise SpoolError where the engine cannot do it now (disk full, I/O error): then
    nothing has changed and the caller asks again.
    """

    books: Books
    """Live counters, changed only when a commit has succeeded. Read, never write."""

    @property
    def tail(self) -> int:
        """The last sequence number that is in the log."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the spool is below its size limit and leaves its disk the space to deliver what it holds; if not, the
        receiver must wait."""
        ...

    async def append(self, records: Sequence[Record], tally: Tally) -> int:
        """Make the records durable and book the tally, in one transaction. Returns the first record's sequence
        number; the others follow without gaps. When it returns, a power cut loses nothing of it."""
        ...

    async def enlist(self, integration_id: str) -> LanePosition:
        """The lane's position; a lane that is new to the spool starts at the tail."""
        ...

    def placeless(self, integration_ids: Iterable[str]) -> Sequence[str]:
        """Those of these integrations that have no lane here and would find none free, were each to get one in turn. An
        append for such a one fails. Never raises."""
        ...

    async def lanes(self) -> Sequence[str]:
        """All integrations that have a lane here, those without a file included."""
        ...

    async def read(self, integration_id: str, run: Run, limit: int) -> Page:
        """The integration's deliveries within the run, at most `limit`. It may return fewer, or none, with `scanned_to`
        short of the run's end: at the tail of the log, or so that one read never takes long."""
        ...

    async def read_parked(
        self, integration_id: str, due_by: float, limit: int
    ) -> tuple[Sequence[Delivery], float | None]:
        """Parked deliveries with a retry time up to `due_by`, most overdue first, and the retry time that follows."""
        ...

    async def retry_by(self, latest: float) -> None:
        """Let no parked delivery wait beyond this time (epoch seconds): the clock by which they wait was set back."""
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Book how a call ended. It may become durable only with the next append: a power cut can undo it (the call is
        then made again), a killed process cannot."""
        ...

    async def bury(self, integration_id: str, reason: Reason, message: str, *, up_to: int = END) -> int:
        """Turn everything pending of the integration (log and parked), up to that sequence number, into dead letters.
        Returns how many. The integration's lane must not run meanwhile."""
        ...

    async def forget(self, integration_id: str) -> None:
        """Drop the lane of an integration, if nothing is pending for it. Its counters stay, and it gets a lane anew
        should events come for it again."""
        ...

    async def trim(self) -> int:
        """Delete log rows that no lane needs any more: those that all have passed, and beyond them those that the lanes
        which lag behind do not want. Looks at a bounded number at a time. Returns at how many; 0 when it is done."""
        ...

    async def usage(self) -> SpoolUsage:
        """How full it is, and how old its oldest pending event."""
        ...

    async def verify(self) -> Sequence[Discrepancy]:
        """Count what is pending in the log and the parked table and compare it with the books. Reads everything that is
        pending: not for every scrape."""
        ...

    async def dead_letters(
        self, which: DeadLetterFilter, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetterRow]:
        """Stored dead letters by id."""
        ...

    async def count_dead_letters(self, which: DeadLetterFilter) -> int:
        """How many stored dead letters are meant."""
        ...

    async def redrive(self, which: DeadLetterFilter) -> int:
        """Put dead letters back on their lanes' parked tables, due now; each is booked as matched once more."""
        ...

    async def purge(self, which: DeadLetterFilter) -> int:
        """Delete dead letters for good. They stay counted as dead-lettered."""
        ...

    async def close(self) -> None:
        """Commit what is outstanding and close. Safe to call twice."""
        ...
