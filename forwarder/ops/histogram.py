"""A histogram for the hot path: observes a batch at about a tenth of a microsecond a value, without locks.

prometheus_client's own takes about two microseconds a value. The buckets mean the same: a value belongs to the first
bound that is not less than it (Prometheus' `le`), and the last bucket is without a bound.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


class BatchHistogram:
    """Counts per bucket, and the sum of all values. `bounds` are ascending and finite."""

    __slots__ = ("_bounds", "_counts", "_labels", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._labels = [*map(floatToGoString, bounds), "+Inf"]
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, values: Iterable[float]) -> None:
        """Count every value."""
        bounds, counts = self._bounds, self._counts
        total = 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self._sum += total

    @property
    def sum(self) -> float:
        """The sum of all values."""
        return self._sum

    def buckets(self) -> list[tuple[str, float]]:
        """`(le, how many values are at most that)`, as prometheus_client takes them."""
        return list(zip(self._labels, accumulate(self._counts), strict=True))
