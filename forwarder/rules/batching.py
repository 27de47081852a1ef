"""Which of the waiting deliveries make up the next call. Pure: sizes and faults are asked of functions passed in."""

from collections.abc import Callable, Iterable

import msgspec

from forwarder.model import Delivery, Reason


class CallLimits(msgspec.Struct, frozen=True):
    """What one call may hold: entries, and bytes by the sink's own formula."""

    max_entries: int
    max_bytes: int


class Packed(msgspec.Struct):
    """The leading deliveries of a queue, sorted by what becomes of them. All keep their order."""

    send: list[Delivery]
    expired: list[Delivery]
    faulty: list[tuple[Delivery, Reason, str]]

    @property
    def taken(self) -> int:
        """How many leave the queue."""
        return len(self.send) + len(self.expired) + len(self.faulty)


def pack(
    queue: Iterable[Delivery],
    limits: CallLimits,
    *,
    expired_by: float,
    size: Callable[[Delivery], int],
    fault: Callable[[Delivery], tuple[Reason, str] | None],
) -> Packed:
    """Take from the front until the call is full.

    What was received by `expired_by` (epoch seconds) or can never be accepted leaves the queue with the call
    but takes no room in it; with `max_entries` 0 nothing else leaves. An entry without fault fits a call of its own, so
    that the queue always moves.
    """
    packed = Packed([], [], [])
    room = limits.max_bytes
    for delivery in queue:
        if delivery.notification.received_at <= expired_by:
            packed.expired.append(delivery)
        elif found := fault(delivery):
            packed.faulty.append((delivery, *found))
        else:
            room -= size(delivery)
            if len(packed.send) == limits.max_entries or (packed.send and room < 0):
                break
            packed.send.append(delivery)
    return packed
