"""How a delivery lies in the tables: the columns that the log, the parked and the dead letters have in common."""

from collections.abc import Sequence
from typing import Any

from forwarder.model import Delivery, Notification

NOTIFICATION = "received_at, time, id, topic, detail_type, detail"


def delivery_of(integration_id: str, seq: int, attempts: int, row: Sequence[Any]) -> Delivery:
    """The delivery in a row's NOTIFICATION columns."""
    received_at, time, event_id, topic, detail_type, detail = row
    return Delivery(
        seq, Notification(event_id, topic, detail, time, received_at), integration_id, detail_type, attempts
    )


def columns_of(delivery: Delivery) -> tuple[Any, ...]:
    """The NOTIFICATION columns of a delivery."""
    n = delivery.notification
    return (n.received_at, n.time, n.id, n.topic, delivery.detail_type, n.detail)
