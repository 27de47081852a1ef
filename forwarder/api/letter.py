"""A dead letter as the API and the commands show it."""

import msgspec

from forwarder.model import Reason
from forwarder.spool.base import DeadLetterRow


class Event(msgspec.Struct, frozen=True):
    """The event as it would have been delivered; `detail` is its JSON text, `time` and `received_at` epoch seconds."""

    id: str
    topic: str
    detail_type: str
    time: int
    received_at: float
    detail: str


class Letter(msgspec.Struct, frozen=True):
    """A dead letter. `dead_at` is in epoch seconds; `code` and `message` are the service's own words where it spoke."""

    id: int
    integration: str
    reason: Reason
    code: str
    message: str
    attempts: int
    dead_at: float
    event: Event


def as_letter(row: DeadLetterRow) -> Letter:
    """The stored dead letter in this form."""
    letter, delivery = row.letter, row.letter.delivery
    notification = delivery.notification
    return Letter(
        id=row.id,
        integration=delivery.integration_id,
        reason=letter.reason,
        code=letter.code,
        message=letter.message,
        attempts=delivery.attempts,
        dead_at=letter.dead_at,
        event=Event(
            notification.id,
            notification.topic,
            delivery.detail_type,
            notification.time,
            notification.received_at,
            notification.detail.decode(errors="replace"),
        ),
    )
