"""Calls: deliveries on their way together, and what is to be booked, done again and told when one has ended. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from forwarder.errors import PutError
from forwarder.model import Delivery, EntryResult, Reason
from forwarder.rules.retry import (
    ENTRY_PAUSES,
    Accept,
    Backoff,
    Bury,
    Park,
    Split,
    backoff,
    decide_call,
    decide_entry,
)
from forwarder.spool.base import DeadLetter, Parked, Run, Settlement


class Call(msgspec.Struct):
    """Some deliveries on their way, and what was sorted out when they were taken."""

    send: list[Delivery]
    expired: list[Delivery]
    faulty: list[tuple[Delivery, Reason, str]]
    stretch: Run | None
    """The part of the log that is finished with this call; None where it came from the parked table."""

    @property
    def parked(self) -> Sequence[int]:
        """The sequence numbers that this call took from the parked table."""
        if self.stretch is not None:
            return ()
        return [d.seq for d in (*self.send, *self.expired, *(d for d, _, _ in self.faulty))]

    def halves(self) -> tuple["Call", "Call"]:
        """Two calls that together are this one. What needs no sending stays with the stretch that it is in: each half
        is booked by itself."""
        middle = len(self.send) // 2
        left, right = self.send[:middle], self.send[middle:]
        if self.stretch is None:
            return Call(left, self.expired, self.faulty, None), Call(right, [], [], None)
        border = left[-1].seq
        return (
            Call(
                left,
                [each for each in self.expired if each.seq <= border],
                [each for each in self.faulty if each[0].seq <= border],
                (self.stretch[0], border),
            ),
            Call(
                right,
                [each for each in self.expired if each.seq > border],
                [each for each in self.faulty if each[0].seq > border],
                (border + 1, self.stretch[1]),
            ),
        )


class Trouble(msgspec.Struct, frozen=True):
    """Why the destination takes nothing now. `at_least` is the pause in seconds that it asked for."""

    reason: Reason
    message: str
    at_least: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. `label` is its metric label, `again` what has to be sent again, `trouble` why the lane backs
    off; `accepted` holds the deliveries that were made."""

    label: str
    settlement: Settlement
    accepted: Sequence[Delivery] = ()
    again: tuple[Call, ...] = ()
    trouble: Trouble | None = None


def judge(
    integration_id: str, call: Call, results: Sequence[EntryResult], now: float, jitter: Callable[[], float]
) -> Outcome:
    """Decide on every entry of a call that went through, or had nothing to send. `results` are index-aligned."""
    accepted: list[Delivery] = []
    parked: list[Parked] = []
    dead = _dead_on_arrival(call, now)
    gone = None
    for delivery, result in zip(call.send, results, strict=True):
        code, message = result.error_code or "", result.error_message or ""
        match decide_entry(result):
            case Accept():
                accepted.append(delivery)
            case Park(reason):
                pause = backoff(delivery.attempts + 1, ENTRY_PAUSES, jitter=jitter())
                tried = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
                parked.append(Parked(tried, now + pause, reason, code))
                if reason is Reason.SOURCE_GONE:
                    gone = Trouble(reason, message or code)
            case Bury(reason):
                dead.append(DeadLetter(delivery, reason, code, message, now))
    settlement = Settlement(
        integration_id,
        call.stretch,
        delivered=len(accepted),
        expired=len(call.expired),
        parked=parked,
        dead=dead,
        unparked=call.parked,
        retried=Counter(each.reason for each in parked),
    )
    label = "accepted" if len(accepted) == len(call.send) else "partial"
    return Outcome(label, settlement, accepted, trouble=gone)


def fail(integration_id: str, call: Call, error: PutError, now: float) -> Outcome:
    """Decide on a call that failed as a whole. Only one that is buried is settled; the others are made again."""
    again: tuple[Call, ...] = (call,)
    trouble = None
    match decide_call(error, len(call.send)):
        case Bury(reason):
            dead = [DeadLetter(each, reason, error.code, error.message, now) for each in call.send]
            dead += _dead_on_arrival(call, now)
            settlement = Settlement(
                integration_id, call.stretch, expired=len(call.expired), dead=dead, unparked=call.parked
            )
            return Outcome(error.reason, settlement)
        case Split():
            again = call.halves()
        case Backoff(reason, at_least):
            trouble = Trouble(reason, f"{error.code}: {error.message}", at_least)
    retried = Settlement(integration_id, None, retried={error.reason: len(call.send)})
    return Outcome(error.reason, retried, again=again, trouble=trouble)


def _dead_on_arrival(call: Call, now: float) -> list[DeadLetter]:
    return [DeadLetter(delivery, reason, reason, text, now) for delivery, reason, text in call.faulty]
