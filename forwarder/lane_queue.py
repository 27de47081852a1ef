"""What one integration has to send, in order: from memory while its lane keeps up, from the log when it is behind.

The lane takes *calls* from here and brings back those that have to be made again. A call that came from the log covers
a stretch of it; the stretches of all calls taken tile the log, so finishing them in any order adds up.
"""

from collections import deque
from collections.abc import Callable, Iterable

from forwarder.calls import Call
from forwarder.errors import SpoolError
from forwarder.model import Delivery, Reason
from forwarder.rules.batching import CallLimits, pack
from forwarder.rules.retention import Retention
from forwarder.spool.base import LanePosition, Spool

BUFFER_ENTRIES = 2_000
BUFFER_BYTES = 4 << 20
PAGE_ENTRIES = 500
PARKED_ENTRIES = 200

Size = Callable[[Delivery], int]
"""An entry's size in bytes by the sink's formula."""
Fault = Callable[[Delivery], tuple[Reason, str] | None]
"""Why an entry can never be accepted, or None."""


class LaneQueue:
    """See above. Call `open` first; `take` and `put_back` never wait."""

    def __init__(self, integration_id: str, spool: Spool, *, limits: CallLimits, retention: Retention) -> None:
        self._id = integration_id
        self._spool = spool
        self._limits = limits
        self._retention = retention
        self._start = LanePosition(0)
        self._read_to = self._taken_to = -1  # not opened: nothing is offered to it, and it is not finished
        self._reading = False
        self._fresh: deque[Delivery] = deque()  # from the log, in order
        self._fresh_bytes = 0
        self._due: deque[Delivery] = deque()  # from the parked table
        self._parked_out = 0  # how many of those are not settled
        self._parked_at: float | None = None  # the next retry time in the table
        self._again: deque[Call] = deque()

    async def open(self) -> None:
        """Find the lane's place in the log and its parked entries. Raises SpoolError."""
        start = await self._spool.enlist(self._id)
        _, parked_at = await self._spool.read_parked(self._id, float("-inf"), 1)
        # At once, and only now: what was offered before is left to the log, for this may have failed halfway before.
        self._start, self._parked_at = start, parked_at
        self._read_to = self._taken_to = start.position

    # Filling

    def offer(self, first: int, last: int, deliveries: Iterable[Delivery]) -> None:
        """Take what was just appended as rows `first` to `last`, unless the lane is behind: then it reads the log."""
        if self._read_to == first - 1 and not self._reading and self._has_room():
            self._add(deliveries, last)

    def _has_room(self) -> bool:
        return len(self._fresh) < BUFFER_ENTRIES and self._fresh_bytes < BUFFER_BYTES

    def _add(self, deliveries: Iterable[Delivery], read_to: int) -> None:
        for delivery in deliveries:
            self._fresh.append(delivery)
            self._fresh_bytes += len(delivery.notification.detail)
        self._read_to = read_to

    async def refill(self, now: float) -> None:
        """Read the log while the lane is behind, and the parked entries that are due. Raises SpoolError."""
        if self._parked_at is not None and self._parked_at <= now and not self._parked_out:
            await self._read_parked(now)
        while self._read_to < self._spool.tail and len(self._fresh) < PAGE_ENTRIES and self._has_room():
            await self._read_log()

    async def _read_parked(self, now: float) -> None:
        noted, self._parked_at = self._parked_at, None  # a call settled meanwhile may note an earlier one
        self._parked_out = 1  # until the number is known: meanwhile the lane must not look finished
        try:
            due, following = await self._spool.read_parked(self._id, now, PARKED_ENTRIES)
        except SpoolError:
            self._parked_out = 0
            self.note_parked(noted)
            raise
        self._due.extend(due)
        self._parked_out = len(due)
        self.note_parked(following)

    async def _read_log(self) -> None:
        # To wherever the log ends when the spool gets round to it: else a busy lane would never quite catch up. What is
        # offered meanwhile may or may not be in the page, so it is left to the log.
        self._reading = True
        try:
            page = await self._spool.read(self._id, self._start.next_gap(self._read_to), PAGE_ENTRIES)
        finally:
            self._reading = False
        self._add(page.deliveries, page.scanned_to)

    def note_parked(self, retry_at: float | None) -> None:
        """Know of an entry in the parked table that will be due then (epoch seconds)."""
        if retry_at is not None:
            self._parked_at = retry_at if self._parked_at is None else min(self._parked_at, retry_at)

    def settled(self, call: Call) -> None:
        """The call's outcome is booked."""
        self._parked_out -= len(call.parked)

    # Taking

    @property
    def waiting(self) -> int:
        """Deliveries in memory that no call has taken, those of calls to be made again included."""
        return len(self._fresh) + len(self._due) + sum(len(call.send) for call in self._again)

    @property
    def finished(self) -> bool:
        """Whether all deliveries have been taken, those in the log and the parked ones included."""
        return not (self.waiting or self._parked_out) and self._parked_at is None and self._read_to >= self._spool.tail

    def full(self) -> bool:
        """Whether a call would be full, or must be made again: there is nothing to wait for."""
        return (
            bool(self._again or self._due)
            or len(self._fresh) >= self._limits.max_entries
            or self._fresh_bytes >= self._limits.max_bytes
        )

    def oldest(self) -> float | None:
        """Time of receipt of the first delivery that waits in memory for its first try."""
        return self._fresh[0].notification.received_at if self._fresh else None

    def until_expiry(self, now: float) -> float:
        """Seconds until `take_expired` finds the next delivery in memory that has waited too long; not above 0: now."""
        heads = [call.send[0] for call in self._again] + [queue[0] for queue in (self._due, self._fresh) if queue]
        received = (delivery.notification.received_at for delivery in heads)
        # By the very comparison that `take_expired` makes: were they to round differently, its caller would spin.
        return min(received, default=float("inf")) - self._retention.expired_by(now)

    def next_parked(self) -> float | None:
        """When the next parked entry is due, unless those that were due are still out."""
        return None if self._parked_out else self._parked_at

    def take(self, now: float, *, size: Size, fault: Fault) -> Call | None:
        """The next call: one to be made again, else parked entries, else new ones. None where there is nothing."""
        if self._again:
            return _sorted_again(self._again.popleft(), self._retention.expired_by(now))
        if self._due:
            return self._pack_due(now, self._limits, size, fault)
        return self._pack_fresh(now, self._limits, size, fault)

    def take_expired(self, now: float) -> Call | None:
        """What waits at the head of a queue and has expired, and where nothing new waits the stretch of the log that is
        for others. None where there is neither."""
        for _ in range(len(self._again)):
            call = _sorted_again(self._again.popleft(), self._retention.expired_by(now))
            if not call.send:
                return call
            self._again.append(call)
        nothing = CallLimits(0, 0)
        due = self._pack_due(now, nothing, _no_size, _no_fault) if self._due else None
        return due or self._pack_fresh(now, nothing, _no_size, _no_fault)

    def _pack_due(self, now: float, limits: CallLimits, size: Size, fault: Fault) -> Call | None:
        packed = pack(self._due, limits, expired_by=self._retention.expired_by(now), size=size, fault=fault)
        for _ in range(packed.taken):
            self._due.popleft()
        return Call(packed.send, packed.expired, packed.faulty, None) if packed.taken else None

    def _pack_fresh(self, now: float, limits: CallLimits, size: Size, fault: Fault) -> Call | None:
        packed = pack(self._fresh, limits, expired_by=self._retention.expired_by(now), size=size, fault=fault)
        taken = [self._fresh.popleft() for _ in range(packed.taken)]
        self._fresh_bytes -= sum(len(delivery.notification.detail) for delivery in taken)
        # With nothing left in memory the stretch goes as far as was read: what lies beyond is for other lanes.
        last = self._read_to if not self._fresh else taken[-1].seq if taken else self._taken_to
        if last == self._taken_to:
            return None
        stretch, self._taken_to = (self._taken_to + 1, last), last
        return Call(packed.send, packed.expired, packed.faulty, stretch)

    def put_back(self, *calls: Call) -> None:
        """Have these calls made again, as they are, before anything else."""
        self._again.extend(calls)


def _sorted_again(call: Call, expired_by: float) -> Call:
    """The call without what has expired since it was taken."""
    fresh = [each for each in call.send if each.notification.received_at > expired_by]
    expired = [each for each in call.send if each.notification.received_at <= expired_by]
    return Call(fresh, [*call.expired, *expired], call.faulty, call.stretch)


def _no_size(_: Delivery) -> int:
    """Nothing is sent: no size matters."""
    return 0


def _no_fault(_: Delivery) -> None:
    """Nothing is sent: nothing is judged."""
