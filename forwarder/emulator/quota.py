"""The service's request quotas: in each region a token bucket for PutPartnerEvents and one for all other calls."""

from forwarder.emulator.wire import ApiError


class TokenBucket:
    """`rate` tokens a second up to `burst`; full at first. `rate` None never runs dry."""

    def __init__(self, rate: float | None, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take one token at monotonic time `now`, or say that there is none."""
        if self._rate is None:
            return True
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Quotas:
    """Rates are calls a second, None for no limit. Every region has its own buckets, as an account has in AWS."""

    def __init__(self, *, put_rate: float | None, put_burst: float, other_rate: float | None) -> None:
        self._put_rate = put_rate
        self._put_burst = put_burst
        self._other_rate = other_rate
        self._buckets: dict[tuple[str, bool], TokenBucket] = {}

    def take(self, region: str, operation: str, now: float) -> None:
        """Count one call at monotonic time `now`.

        Raises:
            ApiError: ThrottlingException.
        """
        is_put = operation == "PutPartnerEvents"
        bucket = self._buckets.get((region, is_put))
        if bucket is None:
            bucket = TokenBucket(self._put_rate, self._put_burst) if is_put else self._other_bucket()
            self._buckets[region, is_put] = bucket
        if not bucket.take(now):
            raise ApiError("ThrottlingException", "Rate exceeded")

    def _other_bucket(self) -> TokenBucket:
        return TokenBucket(self._other_rate, self._other_rate or 0)
