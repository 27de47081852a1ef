"""The values that travel between the parts. All frozen; none knows a library, a socket or a disk."""

from enum import StrEnum

import msgspec


class IntendedState(StrEnum):
    """What the admin wants of an integration."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class State(StrEnum):
    """What an integration is doing; every one is reported with a reason."""

    ACTIVE = "ACTIVE"
    ACTIVATING = "ACTIVATING"
    INACTIVE = "INACTIVE"
    DEACTIVATING = "DEACTIVATING"
    ERROR = "ERROR"


class Reason(StrEnum):
    """Why a delivery was retried or dead-lettered. A small closed set: it is a metric label."""

    # Retried: one entry of a call that was otherwise accepted.
    ENTRY_THROTTLED = "entry_throttled"
    ENTRY_INTERNAL = "entry_internal"
    SOURCE_GONE = "source_gone"
    # Retried: the whole call; the lane backs off and moves nothing.
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    CREDENTIALS = "credentials"
    DISABLED_REGION = "disabled_region"
    CLOCK_SKEW = "clock_skew"
    BAD_ANSWER = "bad_answer"
    # Dead-lettered.
    OVERSIZE = "oversize"
    INVALID_ENTRY = "invalid_entry"
    REFUSED = "refused"
    SOURCE_REPLACED = "source_replaced"
    INTEGRATION_DELETED = "integration_deleted"
    UNREADABLE = "unreadable"


class Verdict(StrEnum):
    """What a sink says of one entry."""

    ACCEPTED = "accepted"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"


class Notification(msgspec.Struct, frozen=True, gc=False):
    """One notification as it will be delivered.

    `id` is a stable hash of topic and body, `detail` the JSON object as received, with `timestamp` and
    `metadata.EventId` spliced in, `time` the event's own time in whole epoch seconds, `received_at` that of receipt in
    epoch seconds.
    """

    id: str
    topic: str
    detail: bytes
    time: int
    received_at: float


class Route(msgspec.Struct, frozen=True):
    """The integrations that get a topic under one detail-type. A topic has one route, rarely more: see RoutingTable."""

    detail_type: str
    integration_ids: tuple[str, ...]


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One notification for one integration. `seq` is its place in the spool's log; `attempts` counts how often the
    entry itself was tried and answered as retryable (0: it is still in the log; more: it is parked)."""

    seq: int
    notification: Notification
    integration_id: str
    detail_type: str
    attempts: int = 0


class Integration(msgspec.Struct, frozen=True):
    """One validated integration, as its env file says. `id` is the file's name without `.env`."""

    id: str
    name: str
    notes: str
    account_id: str
    region: str
    event_source_suffix: str
    topic_filters: tuple[str, ...]
    intended_state: IntendedState


class Destination(msgspec.Struct, frozen=True):
    """Where entries go. The source name and the region of the call are all the routing AWS has."""

    account_id: str
    region: str
    event_source_name: str


class IntegrationStatus(msgspec.Struct, frozen=True):
    """An integration with what it is doing now and why.

    `takes_events`: notifications are matched for it and kept in the spool. `sends`: its lane may call the sink.
    (While ACTIVATING it takes events and does not send yet: an entry for a source that does not exist is refused.)
    """

    integration: Integration
    destination: Destination
    state: State
    reason: str
    takes_events: bool
    sends: bool


class EntryResult(msgspec.Struct, frozen=True):
    """A sink's answer for one entry, index-aligned with the entries of the call."""

    verdict: Verdict
    event_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
