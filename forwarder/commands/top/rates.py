"""Rates from two looks at the daemon. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

import msgspec

_LINE = re.compile(r"(forwarder_\w+)(?:\{([^}]*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_ACCEPTED = ("accepted", "partial")  # outcomes of a call; all others are reasons of its failure

Labels = tuple[tuple[str, str], ...]
Buckets = dict[float, float]
"""Observations up to each bound, cumulated, as Prometheus exposes a histogram."""


class Look(msgspec.Struct, frozen=True):
    """One look: `at` in monotonic seconds, the body of `/api/status`, and the samples of `/metrics` that are used."""

    at: float
    status: dict[str, Any]
    samples: dict[tuple[str, Labels], float]

    @classmethod
    def of(cls, at: float, status: dict[str, Any], metrics: str) -> "Look":
        """From the two answers."""
        samples = {}
        for line in metrics.splitlines():
            if parsed := _LINE.fullmatch(line):
                labels = tuple(sorted(_LABEL.findall(parsed[2] or "")))
                samples[parsed[1], labels] = float(parsed[3])
        return cls(at, status, samples)

    def buckets(self, name: str, label: str, value: str) -> Buckets:
        """One histogram's buckets."""
        found = {}
        for (sample, labels), count in self.samples.items():
            given = dict(labels)
            if sample == f"{name}_bucket" and given.get(label) == value:
                found[float(given["le"])] = count
        return found

    def calls(self, region: str) -> dict[str, float]:
        """Calls so far by outcome."""
        return {
            dict(labels)["outcome"]: count
            for (sample, labels), count in self.samples.items()
            if sample == "forwarder_put_requests_total" and dict(labels).get("region") == region
        }


class IntakeRates(msgspec.Struct, frozen=True):
    """Per second."""

    name: str
    connected: bool
    detail: str
    received: float
    matched: float
    unmatched: float
    malformed: float


class IntegrationRates(msgspec.Struct, frozen=True):
    """Per second, and the backlog. Latencies are from receipt to acceptance, in seconds, of what was delivered between
    the looks; None where nothing was."""

    id: str
    state: str
    matched: float
    delivered: float
    pending: int
    retried: float
    dead_lettered: float
    expired: float
    p50: float | None
    p99: float | None
    trouble: str


class RegionRates(msgspec.Struct, frozen=True):
    """Calls per second, those of them that failed, and how long one takes, in seconds."""

    name: str
    calls: float
    errors: float
    throttles: float
    p50: float | None
    p99: float | None
    in_flight: int
    limit: int


class Rates(msgspec.Struct, frozen=True):
    """The whole daemon over `seconds`."""

    seconds: float
    ready: bool
    reasons: tuple[str, ...]
    intakes: tuple[IntakeRates, ...]
    integrations: tuple[IntegrationRates, ...]
    regions: tuple[RegionRates, ...]
    spool_bytes: int
    spool_limit: int
    oldest_seconds: float | None


def rates(before: Look, after: Look) -> Rates:
    """What happened between the two looks."""
    status, seconds = after.status, max(after.at - before.at, 1e-9)
    spool = status["spool"]
    return Rates(
        seconds=seconds,
        ready=status["ready"],
        reasons=tuple(status["reasons"]),
        intakes=tuple(_intake(before, after, name, seconds) for name in status["books"]["intakes"]),
        integrations=tuple(_integration(before, after, each, seconds) for each in status["integrations"]),
        regions=tuple(_region(before, after, name, seconds) for name in sorted(status["regions"])),
        spool_bytes=spool["bytes_used"],
        spool_limit=spool["bytes_limit"],
        oldest_seconds=spool["oldest_seconds"],
    )


def quantile(share: float, buckets: Buckets) -> float | None:
    """The value below which that share of the observations is, as Prometheus' histogram_quantile estimates it."""
    total = buckets.get(inf, 0.0)
    if total <= 0:
        return None
    wanted, lower, below = share * total, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            if bound == inf:
                return lower
            return lower + (bound - lower) * (wanted - below) / max(count - below, 1e-9)
        lower, below = bound, count
    return lower


def _intake(before: Look, after: Look, name: str, seconds: float) -> IntakeRates:
    rate = _rate(before, after, lambda status: status["books"]["intakes"].get(name) or {}, seconds)
    intake = after.status["intake"]
    here = intake["name"] == name
    return IntakeRates(
        name,
        connected=here and intake["connected"],
        detail=intake["detail"] if here else "not running",
        **{key: rate(key) for key in ("received", "matched", "unmatched", "malformed")},
    )


def _integration(before: Look, after: Look, view: Mapping[str, Any], seconds: float) -> IntegrationRates:
    id_ = view["id"]
    rate = _rate(before, after, lambda status: status["books"]["integrations"].get(id_) or {}, seconds)
    books = after.status["books"]["integrations"].get(id_) or {}
    lane = after.status["lanes"].get(id_) or {}
    latency = _since(before, after, "forwarder_delivery_seconds", "integration", id_)
    return IntegrationRates(
        id_,
        view["state"],
        **{key: rate(key) for key in ("matched", "delivered", "retried", "dead_lettered", "expired")},
        pending=books.get("pending", 0),
        p50=quantile(0.5, latency),
        p99=quantile(0.99, latency),
        trouble=lane.get("trouble") or ("" if view["state"] == "ACTIVE" else view["reason"]),
    )


def _region(before: Look, after: Look, name: str, seconds: float) -> RegionRates:
    earlier, outcomes = before.calls(name), after.calls(name)
    calls = {outcome: _growth(earlier.get(outcome, 0), count) / seconds for outcome, count in outcomes.items()}
    took = _since(before, after, "forwarder_put_seconds", "region", name)
    rate = _rate(before, after, lambda status: status["regions"].get(name) or {}, seconds)
    region = after.status["regions"][name]
    return RegionRates(
        name,
        calls=sum(calls.values()),
        errors=sum(count for outcome, count in calls.items() if outcome not in _ACCEPTED),
        throttles=rate("throttles"),
        p50=quantile(0.5, took),
        p99=quantile(0.99, took),
        in_flight=region["in_flight"],
        limit=region["limit"],
    )


def _rate(
    before: Look, after: Look, part: Callable[[dict[str, Any]], Mapping[str, Any]], seconds: float
) -> Callable[[str], float]:
    """How fast a counter within that part of the status grows."""
    old, new = part(before.status), part(after.status)
    return lambda key: _growth(_total(old.get(key, 0)), _total(new.get(key, 0))) / seconds


def _since(before: Look, after: Look, name: str, label: str, value: str) -> Buckets:
    old, new = before.buckets(name, label, value), after.buckets(name, label, value)
    restarted = new.get(inf, 0) < old.get(inf, 0)
    return {bound: count - (0 if restarted else old.get(bound, 0)) for bound, count in new.items()}


def _total(counter: float | Mapping[str, float]) -> float:
    """A counter, or the sum of one that is kept by reason."""
    values: Iterable[float] = counter.values() if isinstance(counter, Mapping) else (counter,)
    return sum(values)


def _growth(old: float, new: float) -> float:
    """A counter that is smaller than before has begun anew."""
    return new - old if new >= old else new
