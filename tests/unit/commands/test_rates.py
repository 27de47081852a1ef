"""Rates from two looks at the daemon."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.commands.top.rates import Look, quantile, rates

METRICS = """\
# HELP forwarder_delivery_seconds Time.
# TYPE forwarder_delivery_seconds histogram
forwarder_delivery_seconds_bucket{integration="crm",le="0.1"} {fast}
forwarder_delivery_seconds_bucket{integration="crm",le="0.2"} {all}
forwarder_delivery_seconds_bucket{integration="crm",le="+Inf"} {all}
forwarder_put_requests_total{region="us-east-1",outcome="accepted"} {calls}
forwarder_put_requests_total{outcome="throttled",region="us-east-1"} {failed}
something_else 1
"""


def look(at: float, *, delivered: int, pending: int = 0, calls: float = 0, failed: float = 0) -> Look:
    status: dict[str, Any] = {
        "ready": True,
        "reasons": [],
        "intake": {"name": "mqtt", "connected": True, "detail": "there"},
        "spool": {"bytes_used": 1, "bytes_limit": 2, "oldest_seconds": None},
        "integrations": [{"id": "crm", "state": "ACTIVE", "reason": "events flow"}],
        "books": {
            "intakes": {
                "mqtt": {"received": delivered, "matched": delivered, "unmatched": 0, "malformed": 0},
                "file": {"received": 7, "matched": 7, "unmatched": 0, "malformed": 0},
            },
            "integrations": {
                "crm": {
                    "matched": delivered + pending,
                    "delivered": delivered,
                    "pending": pending,
                    "expired": 0,
                    "dead_lettered": {"refused": delivered, "oversize": delivered},
                    "retried": {},
                }
            },
        },
        "lanes": {"crm": {"trouble": None}},
        "regions": {"us-east-1": {"in_flight": 1, "limit": 64, "throttles": failed}},
    }
    metrics = METRICS
    for name, value in {"fast": delivered / 2, "all": delivered, "calls": calls, "failed": failed}.items():
        metrics = metrics.replace(f"{{{name}}}", str(value))
    return Look.of(at, status, metrics)


def test_rates_over_the_time_between_two_looks() -> None:
    now = rates(look(10, delivered=100, calls=5), look(12, delivered=300, pending=4, calls=25, failed=2))
    (crm,) = now.integrations
    assert (now.seconds, crm.delivered, crm.matched, crm.pending) == (2, 100, 102, 4)
    assert crm.dead_lettered == 200  # of both reasons
    assert [crm.p50, crm.p99] == pytest.approx([0.1, 0.198])
    (region,) = now.regions
    assert (region.calls, region.errors, region.throttles, region.in_flight) == (11, 1, 1, 1)
    assert region.p50 is None  # no histogram of it was there
    assert [(each.name, each.connected, each.received) for each in now.intakes] == [
        ("mqtt", True, 100),
        ("file", False, 0),
    ]


def test_nothing_delivered_has_no_latency() -> None:
    (crm,) = rates(look(1, delivered=5), look(2, delivered=5)).integrations
    assert (crm.delivered, crm.p50, crm.p99) == (0, None, None)


def test_counters_of_a_daemon_that_was_restarted_begin_anew() -> None:
    now = rates(look(1, delivered=1000, calls=100), look(2, delivered=10, calls=3))
    assert (now.integrations[0].delivered, now.regions[0].calls) == (10, 3)
    assert now.integrations[0].p99 == pytest.approx(0.198)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0.01, 1))
def test_a_quantile_is_within_the_bounds_and_grows_with_the_share(counts: list[int], share: float) -> None:
    buckets = {float(bound): float(sum(counts[: bound + 1])) for bound in range(len(counts))}
    buckets[float("inf")] = float(sum(counts))
    found, more = quantile(share, buckets), quantile(1, buckets)
    if sum(counts) == 0:
        assert found is None
    else:
        assert found is not None
        assert more is not None
        assert 0 <= found <= more <= len(counts) - 1
