"""The metrics that are read off a snapshot: a table of name, meaning, labels and how to read it. No state of its own.

Counters come from the books, which survive a restart, so that they balance across it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Literal

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from forwarder.model import Reason, State
from forwarder.ops.snapshot import LaneView, RegionView, Snapshot, SourceView
from forwarder.spool.base import IntakeBooks, LaneBooks

Sample = tuple[tuple[str, ...], float]
"""Label values and the value."""

Kind = Literal["counter", "gauge", "histogram"]


class Spec(msgspec.Struct, frozen=True):
    """What a metric is called and means. The help is a complete sentence: it is also the README's table."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()


class StateMetric(msgspec.Struct, frozen=True):
    """A metric and how it is read off a snapshot at the epoch second `now`."""

    spec: Spec
    read: Callable[[Snapshot, float], Iterable[Sample]]


SOURCE_STATES = {"DELETED": 0, "PENDING": 1, "ACTIVE": 2}

_DEAD_LETTER_REASONS = (
    Reason.OVERSIZE,
    Reason.INVALID_ENTRY,
    Reason.REFUSED,
    Reason.SOURCE_REPLACED,
    Reason.INTEGRATION_DELETED,
    Reason.UNREADABLE,
)
_RETRY_REASONS = tuple(reason for reason in Reason if reason not in _DEAD_LETTER_REASONS)


def state_families(snapshot: Snapshot, now: float) -> Iterator[Metric]:
    """Every metric of the table with its samples."""
    for metric in STATE_METRICS:
        spec = metric.spec
        family = (
            CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, labels=spec.labels)
            if spec.kind == "counter"
            else GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
        )
        for labels, value in metric.read(snapshot, now):
            family.add_metric(labels, value)
        yield family


def known_integrations(snapshot: Snapshot) -> list[str]:
    """Integrations that are configured or still in the books, in a stable order."""
    configured = (status.integration.id for status in snapshot.integrations)
    return list(dict.fromkeys(chain(configured, snapshot.books.lanes)))


def _metric(
    kind: Kind, name: str, text: str, labels: tuple[str, ...], read: Callable[[Snapshot, float], Iterable[Sample]]
) -> StateMetric:
    return StateMetric(Spec(kind, name, text, labels), read)


def _single(kind: Kind, name: str, text: str, read: Callable[[Snapshot, float], float | None]) -> StateMetric:
    """A metric without labels; where it reads None it has no sample."""

    def sample(snapshot: Snapshot, now: float) -> Iterator[Sample]:
        value = read(snapshot, now)
        if value is not None:
            yield (), value

    return _metric(kind, name, text, (), sample)


def _notifications(name: str, text: str, read: Callable[[IntakeBooks], float]) -> StateMetric:
    def samples(snapshot: Snapshot, _now: float) -> Iterator[Sample]:
        books = {snapshot.intake: IntakeBooks()} | snapshot.books.intakes
        return (((intake,), read(entry)) for intake, entry in books.items())

    return _metric("counter", f"forwarder_notifications_{name}_total", text, ("intake",), samples)


def _deliveries(kind: Kind, name: str, text: str, read: Callable[[LaneBooks], float]) -> StateMetric:
    def samples(snapshot: Snapshot, _now: float) -> Iterator[Sample]:
        lanes = snapshot.books.lanes
        return (((id_,), read(lanes.get(id_, _NO_BOOKS))) for id_ in known_integrations(snapshot))

    return _metric(kind, f"forwarder_deliveries_{name}", text, ("integration",), samples)


def _by_reason(
    name: str, text: str, usual: Iterable[Reason], read: Callable[[LaneBooks], Mapping[Reason, int]]
) -> StateMetric:
    """The usual reasons are there from the start, at zero, so that a rate sees the first one."""

    def samples(snapshot: Snapshot, _now: float) -> Iterator[Sample]:
        for id_ in known_integrations(snapshot):
            counts = {**dict.fromkeys(usual, 0), **read(snapshot.books.lanes.get(id_, _NO_BOOKS))}
            yield from (((id_, str(reason)), count) for reason, count in counts.items())

    return _metric("counter", f"forwarder_deliveries_{name}_total", text, ("integration", "reason"), samples)


def _intake(kind: Kind, name: str, text: str, read: Callable[[Snapshot], float]) -> StateMetric:
    return _metric(kind, f"forwarder_intake_{name}", text, ("intake",), lambda s, _now: [((s.intake,), read(s))])


def _lane(name: str, text: str, read: Callable[[LaneView], float]) -> StateMetric:
    return _metric(
        "gauge",
        f"forwarder_lane_{name}",
        text,
        ("integration",),
        lambda s, _now: [((id_,), read(lane)) for id_, lane in s.lanes.items()],
    )


def _region(kind: Kind, name: str, text: str, read: Callable[[RegionView], float]) -> StateMetric:
    return _metric(
        kind,
        f"forwarder_{name}",
        text,
        ("region",),
        lambda s, _now: [((region,), read(view)) for region, view in s.regions.items()],
    )


def _source(name: str, text: str, read: Callable[[SourceView], float | None]) -> StateMetric:
    def samples(snapshot: Snapshot, _now: float) -> Iterator[Sample]:
        values = ((id_, read(view)) for id_, view in snapshot.sources.items())
        return (((id_,), value) for id_, value in values if value is not None)

    return _metric("gauge", f"forwarder_event_source_{name}", text, ("integration",), samples)


def _integration_states(snapshot: Snapshot, _now: float) -> Iterator[Sample]:
    for status in snapshot.integrations:
        for state in State:
            yield (status.integration.id, str(state)), float(state is status.state)


_NO_BOOKS = LaneBooks()

STATE_METRICS: tuple[StateMetric, ...] = (
    _notifications("received", "Notifications that were received and acknowledged.", lambda b: b.received),
    _notifications("malformed", "Notifications received that could not be read.", lambda b: b.malformed),
    _notifications("unmatched", "Notifications received that no integration wants.", lambda b: b.unmatched),
    _notifications("matched", "Notifications received that at least one integration wants.", lambda b: b.matched),
    _deliveries("counter", "matched_total", "Deliveries that were accepted into the spool.", lambda b: b.matched),
    _deliveries("counter", "delivered_total", "Deliveries that the sink accepted.", lambda b: b.delivered),
    _by_reason(
        "dead_lettered",
        "Deliveries that can never be made and were set aside.",
        _DEAD_LETTER_REASONS,
        lambda b: b.dead_lettered,
    ),
    _deliveries("counter", "expired_total", "Deliveries given up after the retention time.", lambda b: b.expired),
    _by_reason("retried", "Deliveries that were tried again.", _RETRY_REASONS, lambda b: b.retried),
    _deliveries("gauge", "pending", "Deliveries that have not ended yet.", lambda b: b.pending),
    _lane("buffered", "Deliveries that the lane holds in memory.", lambda lane: lane.buffered),
    _lane("in_flight", "Deliveries in calls that have not been answered.", lambda lane: lane.in_flight),
    _lane(
        "backing_off", "1 while the lane waits because its destination has trouble.", lambda lane: bool(lane.trouble)
    ),
    _single("gauge", "forwarder_spool_bytes", "Disk space that the spool takes.", lambda s, _: s.spool.bytes_used),
    _single(
        "gauge", "forwarder_spool_limit_bytes", "Disk space that the spool may take.", lambda s, _: s.spool.bytes_limit
    ),
    _single(
        "gauge",
        "forwarder_spool_oldest_seconds",
        "Age of the oldest pending delivery, 0 when nothing is pending.",
        lambda s, now: 0 if s.spool.oldest_received_at is None else max(0.0, now - s.spool.oldest_received_at),
    ),
    _single(
        "gauge",
        "forwarder_spool_answering",
        "1 if the spool answers; while it does not, what its disk alone can tell is as it was last told.",
        lambda s, _: s.spool_answering,
    ),
    _single(
        "gauge",
        "forwarder_receiver_stopped",
        "1 while nothing is taken from the intake because the spool cannot keep it.",
        lambda s, _: bool(s.receiver_trouble),
    ),
    _intake("gauge", "connected", "1 while the intake is connected.", lambda s: s.intake_health.connected),
    _intake(
        "counter", "reconnects_total", "Connections made again after a loss.", lambda s: s.intake_health.reconnects
    ),
    _intake(
        "counter",
        "lost_seconds_total",
        "Seconds without a connection to a stream that keeps nothing; what was sent in them is lost.",
        lambda s: s.intake_health.lost_seconds,
    ),
    _metric(
        "gauge",
        "forwarder_integration_state",
        "1 for the state the integration is in, 0 for the others.",
        ("integration", "state"),
        _integration_states,
    ),
    _source(
        "state",
        "State of the partner event source: 2 ACTIVE, 1 PENDING (AWS accepts and drops), 0 DELETED.",
        lambda view: None if view.state is None else SOURCE_STATES.get(view.state),
    ),
    _source(
        "expires_timestamp_seconds",
        "Epoch second at which AWS deletes the pending source.",
        lambda view: view.expires_at,
    ),
    _single(
        "gauge",
        "forwarder_config_last_reload_successful",
        "1 if the last look at the integration files found nothing wrong.",
        lambda s, _: s.reload.successful,
    ),
    _single(
        "gauge",
        "forwarder_config_last_reload_timestamp_seconds",
        "Epoch second of the last look that found nothing wrong.",
        lambda s, _: s.reload.last_success_at,
    ),
    _single(
        "counter",
        "forwarder_config_reloads_total",
        "Reloads of the integration files, successful or not.",
        lambda s, _: s.reload.succeeded + s.reload.failed,
    ),
    _single(
        "counter",
        "forwarder_config_failed_reloads_total",
        "Reloads that found something wrong.",
        lambda s, _: s.reload.failed,
    ),
    _single(
        "gauge",
        "forwarder_config_problems",
        "Problems that the integration files have now.",
        lambda s, _: len(s.reload.problems),
    ),
    _region("gauge", "concurrency_limit", "Calls that may be in flight now.", lambda r: r.limit),
    _region("gauge", "in_flight", "Calls in flight.", lambda r: r.in_flight),
    _region("counter", "throttles_total", "Calls that were answered with a throttle.", lambda r: r.throttles),
    _region(
        "counter",
        "concurrency_wait_seconds_total",
        "Seconds that calls waited for a free slot or the rate limit.",
        lambda r: r.waited_seconds,
    ),
)
