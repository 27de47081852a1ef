"""The batch histogram counts exactly as prometheus_client's own does."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from forwarder.ops.histogram import BatchHistogram

bounds = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=12, unique=True).map(sorted)


@st.composite
def bounds_and_batches(draw: st.DrawFn) -> tuple[list[float], list[list[float]]]:
    edges = draw(bounds)
    value = st.one_of(st.floats(-2e6, 2e6), st.sampled_from(edges))  # exactly on an edge is where `le` matters
    return edges, draw(st.lists(st.lists(value, max_size=20), max_size=5))


@given(bounds_and_batches())
def test_counts_as_prometheus_client_does(case: tuple[list[float], list[list[float]]]) -> None:
    edges, batches = case
    registry = CollectorRegistry()
    theirs = Histogram("h", "help", registry=registry, buckets=edges)
    ours = BatchHistogram(edges)
    for batch in batches:
        ours.observe(batch)
        for value in batch:
            theirs.observe(value)
    samples = {sample.labels.get("le", sample.name): sample.value for sample in next(iter(registry.collect())).samples}
    assert {le: samples[le] for le, _ in ours.buckets()} == dict(ours.buckets())
    # A histogram with negative bounds has no sum in prometheus_client.
    assert math.isclose(ours.sum, samples.get("h_sum", ours.sum), rel_tol=1e-9, abs_tol=1e-6)


def test_a_new_histogram_is_empty() -> None:
    assert BatchHistogram((1, 2.5)).buckets() == [("1.0", 0), ("2.5", 0), ("+Inf", 0)]
