"""Names, labels and values of the exposition. test_promtool.py asks Prometheus' own linter what it thinks of it."""

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from forwarder.model import Reason, State
from forwarder.ops.metrics import Metrics, metrics_table
from forwarder.ops.snapshot import Snapshot
from forwarder.ops.state_metrics import STATE_METRICS
from forwarder.spool.base import Books

NOW = 1_800_000_000.0
PROMISED = {
    "forwarder_notifications_received_total": {"intake"},
    "forwarder_notifications_malformed_total": {"intake"},
    "forwarder_notifications_unmatched_total": {"intake"},
    "forwarder_notifications_matched_total": {"intake"},
    "forwarder_deliveries_matched_total": {"integration"},
    "forwarder_deliveries_delivered_total": {"integration"},
    "forwarder_deliveries_dead_lettered_total": {"integration", "reason"},
    "forwarder_deliveries_expired_total": {"integration"},
    "forwarder_deliveries_retried_total": {"integration", "reason"},
    "forwarder_deliveries_pending": {"integration"},
    "forwarder_delivery_seconds_count": {"integration"},
    "forwarder_put_seconds_count": {"region"},
    "forwarder_put_entries_count": {"region"},
    "forwarder_put_requests_total": {"region", "outcome"},
    "forwarder_spool_bytes": set(),
    "forwarder_spool_commit_seconds_count": set(),
    "forwarder_spool_oldest_seconds": set(),
    "forwarder_spool_answering": set(),
    "forwarder_intake_connected": {"intake"},
    "forwarder_intake_reconnects_total": {"intake"},
    "forwarder_integration_state": {"integration", "state"},
    "forwarder_event_source_state": {"integration"},
    "forwarder_event_source_expires_timestamp_seconds": {"integration"},
    "forwarder_config_last_reload_successful": set(),
    "forwarder_config_last_reload_timestamp_seconds": set(),
    "forwarder_config_reloads_total": set(),
    "forwarder_concurrency_limit": {"region"},
    "forwarder_in_flight": {"region"},
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics, snapshot: Snapshot) -> Series:
    body, _ = metrics.render(snapshot, NOW)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, frozenset(labels.items())))


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.observe_deliveries("crm", [0.004, 0.3])
    metrics.observe_put("us-east-1", "accepted", 0.03, 20)
    metrics.observe_put("us-east-1", Reason.TIMEOUT, 9.0, 1)
    metrics.observe_commit(0.002)
    return metrics


def test_every_promised_metric_has_exactly_its_labels(metrics: Metrics, snapshot: Snapshot) -> None:
    labels: dict[str, set[frozenset[str]]] = {}
    for name, pairs in scrape(metrics, snapshot):
        labels.setdefault(name, set()).add(frozenset(key for key, _ in pairs))
    assert {name: labels.get(name) for name in PROMISED} == {name: {frozenset(want)} for name, want in PROMISED.items()}


def test_the_books_balance_in_the_scrape(metrics: Metrics, snapshot: Snapshot) -> None:
    totals: dict[tuple[str, str], float] = {}
    for (name, labels), number in scrape(metrics, snapshot).items():
        key = (name, dict(labels).get("integration") or dict(labels).get("intake", ""))
        totals[key] = totals.get(key, 0) + number
    for id_ in ("crm", "fresh", "gone"):
        ended = sum(
            totals[f"forwarder_deliveries_{how}_total", id_] for how in ("delivered", "dead_lettered", "expired")
        )
        pending = totals["forwarder_deliveries_pending", id_]
        assert totals["forwarder_deliveries_matched_total", id_] == ended + pending
    for intake in ("mqtt", "file"):
        parts = sum(totals[f"forwarder_notifications_{p}_total", intake] for p in ("malformed", "unmatched", "matched"))
        assert totals["forwarder_notifications_received_total", intake] == parts


def test_reads_the_state(metrics: Metrics, snapshot: Snapshot) -> None:
    series = scrape(metrics, snapshot)
    assert value(series, "forwarder_deliveries_pending", integration="crm") == 2
    assert value(series, "forwarder_deliveries_dead_lettered_total", integration="crm", reason="oversize") == 2
    assert value(series, "forwarder_deliveries_dead_lettered_total", integration="fresh", reason="refused") == 0
    assert value(series, "forwarder_spool_oldest_seconds") == 12.5
    assert value(series, "forwarder_event_source_state", integration="crm") == 1
    assert value(series, "forwarder_event_source_state", integration="fresh") is None
    assert value(series, "forwarder_throttles_total", region="us-east-1") == 7
    assert value(series, "forwarder_lane_backing_off", integration="fresh") == 1
    assert value(series, "forwarder_config_reloads_total") == 5
    assert value(series, "forwarder_config_problems") == 1
    assert value(series, "forwarder_put_requests_total", region="us-east-1", outcome="timeout") == 1
    assert value(series, "forwarder_put_entries_bucket", region="us-east-1", le="19.0") == 1


def test_exactly_one_state_is_current(metrics: Metrics, snapshot: Snapshot) -> None:
    series = scrape(metrics, snapshot)
    for id_, current in (("crm", State.ACTIVE), ("fresh", State.ERROR)):
        states = {s: value(series, "forwarder_integration_state", integration=id_, state=s) for s in State}
        assert states == {state: float(state is current) for state in State}


def test_a_deleted_integration_stays_while_the_books_hold_it(metrics: Metrics, snapshot: Snapshot) -> None:
    series = scrape(metrics, snapshot)
    assert value(series, "forwarder_deliveries_delivered_total", integration="gone") == 5
    assert value(series, "forwarder_integration_state", integration="gone", state="ACTIVE") is None
    empty = msgspec.structs.replace(snapshot, integrations=(), books=Books(), lanes={}, sources={})
    assert not [labels for _, labels in scrape(metrics, empty) if "integration" in dict(labels)]
    again = scrape(metrics, snapshot)
    assert value(again, "forwarder_delivery_seconds_count", integration="crm") is None  # it starts anew


def test_nothing_pending_is_no_age(metrics: Metrics, snapshot: Snapshot) -> None:
    usage = msgspec.structs.replace(snapshot.spool, oldest_received_at=None)
    series = scrape(metrics, msgspec.structs.replace(snapshot, spool=usage))
    assert value(series, "forwarder_spool_oldest_seconds") == 0


def test_says_it_in_openmetrics_when_asked(metrics: Metrics, snapshot: Snapshot) -> None:
    body, content_type = metrics.render(snapshot, NOW, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # prometheus_client left it untyped
    assert "forwarder_deliveries_pending" in {family.name for family in families}


def test_the_standard_metrics_are_there(metrics: Metrics, snapshot: Snapshot) -> None:
    names = {name for name, _ in scrape(metrics, snapshot)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "forwarder_build_info"} <= names
    assert "python_gc_collections_total" in names


def test_the_table_names_all_that_is_exposed(metrics: Metrics, snapshot: Snapshot) -> None:
    table = metrics_table()
    suffixes = ("_bucket", "_count", "_sum", "_created")
    for name, _ in scrape(metrics, snapshot):
        if name.startswith("forwarder_"):
            bare = next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name)
            assert f"| `{bare}` |" in table
    for metric in STATE_METRICS:
        assert metric.spec.help.endswith("."), metric.spec.name


def test_a_clock_that_was_set_back_makes_no_sum_decrease(metrics: Metrics, snapshot: Snapshot) -> None:
    before = value(scrape(metrics, snapshot), "forwarder_delivery_seconds_sum", integration="crm")
    metrics.observe_deliveries("crm", [-3600.0])
    after = scrape(metrics, snapshot)
    assert value(after, "forwarder_delivery_seconds_sum", integration="crm") == before
    assert value(after, "forwarder_delivery_seconds_bucket", integration="crm", le="0.001") == 1
