"""What the daemon says of itself at one moment: the source of /metrics, /readyz, /api/status and `forwarder status`.

The loops hand out their part as one of these values; `app.py` puts them together. Times are epoch seconds.
"""

import msgspec

from forwarder.errors import Problem
from forwarder.intake.base import IntakeHealth
from forwarder.model import IntegrationStatus
from forwarder.spool.base import Books, SpoolUsage


class LaneView(msgspec.Struct, frozen=True):
    """One integration's lane. `buffered` and `in_flight` count deliveries, `trouble` says why it backs off now."""

    buffered: int
    in_flight: int
    trouble: str | None
    retry_at: float | None
    last_delivered_at: float | None


class RegionView(msgspec.Struct, frozen=True):
    """One region's share of the network: how many calls may be in flight, how many are."""

    limit: int
    in_flight: int
    throttles: int
    waited_seconds: float


class SourceView(msgspec.Struct, frozen=True):
    """What AWS says of a partner event source: PENDING, ACTIVE or DELETED, None before it was asked."""

    state: str | None
    expires_at: float | None


class ReloadView(msgspec.Struct, frozen=True):
    """The last look at the integration files, and what was wrong with them."""

    successful: bool
    last_success_at: float | None
    succeeded: int
    failed: int
    problems: tuple[Problem, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """The whole daemon. While the spool does not answer, `spool` is what it said last."""

    started_at: float
    draining: bool
    intake: str
    intake_health: IntakeHealth
    receiver_trouble: str | None
    books: Books
    spool: SpoolUsage
    spool_answering: bool
    integrations: tuple[IntegrationStatus, ...]
    lanes: dict[str, LaneView]
    regions: dict[str, RegionView]
    sources: dict[str, SourceView]
    reload: ReloadView
