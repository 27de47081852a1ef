"""The metrics for Prometheus: histograms observed by the loops, all else read off a snapshot when it is scraped."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from forwarder.ops.build import version
from forwarder.ops.histogram import BatchHistogram
from forwarder.ops.snapshot import Snapshot
from forwarder.ops.state_metrics import STATE_METRICS, Spec, known_integrations, state_families

_DELIVERY = Spec(
    "histogram", "forwarder_delivery_seconds", "Time from receipt to the sink's acceptance.", ("integration",)
)
_PUT = Spec("histogram", "forwarder_put_seconds", "Time of one call to the sink.", ("region",))
_ENTRIES = Spec("histogram", "forwarder_put_entries", "Entries in one call to the sink.", ("region",))
_COMMIT = Spec("histogram", "forwarder_spool_commit_seconds", "Time of one durable commit of the spool.")
_REQUESTS = Spec(
    "counter",
    "forwarder_put_requests_total",
    "Calls to the sink: `accepted`, `partial` where entries failed, else the reason of the failure.",
    ("region", "outcome"),
)
_BUILD = Spec("gauge", "forwarder_build_info", "Always 1; the labels say what is running.", ("version", "python"))

_DELIVERY_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(600, 3600, 6 * 3600, 24 * 3600, 96 * 3600),  # an outage's backlog
)
_PUT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ENTRIES_BOUNDS = (1, 2, 5, 10, 15, 19, 20)
_COMMIT_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class _Histograms(dict[str, BatchHistogram]):
    """One histogram for each value of the one label, made when first observed."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, label: str) -> BatchHistogram:
        self[label] = BatchHistogram(self._bounds)
        return self[label]


class Metrics:
    """What the loops observe, and the exposition of everything. Not thread-safe: it belongs to the event loop."""

    def __init__(self) -> None:
        self._deliveries = _Histograms(_DELIVERY_BOUNDS)
        self._puts = _Histograms(_PUT_BOUNDS)
        self._entries = _Histograms(_ENTRIES_BOUNDS)
        self._commits = BatchHistogram(_COMMIT_BOUNDS)
        self._requests: Counter[tuple[str, str]] = Counter()
        self._standard = CollectorRegistry()
        ProcessCollector(registry=self._standard)
        GCCollector(registry=self._standard)

    def observe_deliveries(self, integration_id: str, seconds: Iterable[float]) -> None:
        """One accepted call's deliveries: for each, the seconds from receipt to acceptance. They count as none where
        the clock was set back meanwhile: a sum that decreases would look like a restart."""
        self._deliveries[integration_id].observe([max(0.0, each) for each in seconds])

    def observe_put(self, region: str, outcome: str, seconds: float, entries: int) -> None:
        """One call to the sink. `outcome` is `accepted`, `partial` or the Reason of its failure."""
        self._requests[region, outcome] += 1
        self._puts[region].observe((seconds,))
        self._entries[region].observe((entries,))

    def observe_commit(self, seconds: float) -> None:
        """One durable commit of the spool."""
        self._commits.observe((seconds,))

    def render(self, snapshot: Snapshot, now: float, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the scraper's Accept header asks for."""
        self._forget_deleted(snapshot)
        encode, content_type = choose_encoder(accept)
        return encode(_Scrape(lambda: self._families(snapshot, now))), content_type

    def _forget_deleted(self, snapshot: Snapshot) -> None:
        for integration_id in self._deliveries.keys() - set(known_integrations(snapshot)):
            del self._deliveries[integration_id]

    def _families(self, snapshot: Snapshot, now: float) -> Iterator[Metric]:
        yield from state_families(snapshot, now)
        yield _histogram(_DELIVERY, self._deliveries)
        yield _histogram(_PUT, self._puts)
        yield _histogram(_ENTRIES, self._entries)
        yield _histogram(_COMMIT, {None: self._commits})
        yield self._request_family()
        yield _build_info()
        yield from self._standard.collect()

    def _request_family(self) -> Metric:
        family = CounterMetricFamily(_REQUESTS.name.removesuffix("_total"), _REQUESTS.help, labels=_REQUESTS.labels)
        for labels, count in self._requests.items():
            family.add_metric(labels, count)
        return family


class _Scrape(Collector):
    """One scrape, in the form that prometheus_client's encoders take."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def _histogram(spec: Spec, histograms: dict[str, BatchHistogram] | dict[None, BatchHistogram]) -> Metric:
    family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
    for label, histogram in histograms.items():
        family.add_metric([label] if label is not None else [], histogram.buckets(), histogram.sum)
    return family


def _build_info() -> Metric:
    labels = {"version": version(), "python": platform.python_version()}
    return InfoMetricFamily(_BUILD.name.removesuffix("_info"), _BUILD.help, value=labels)


def metrics_table() -> str:
    """A markdown table of every metric: name, type, labels, meaning."""
    specs = [*(metric.spec for metric in STATE_METRICS), _DELIVERY, _PUT, _ENTRIES, _COMMIT, _REQUESTS, _BUILD]
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for spec in specs:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        rows.append(f"| `{spec.name}` | {spec.kind} | {labels} | {spec.help} |")
    return "\n".join(rows) + "\n"
