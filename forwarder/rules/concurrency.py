"""How many calls, and how many a second, a region may get. Pure values: the time is passed in."""

import msgspec


class AimdLimit(msgspec.Struct, frozen=True):
    """Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP's congestion avoidance does it.

    The limit grows by about one call for each round of calls that all went through while it was used to the full, and
    is halved by overload; calls that were already under way when it was halved do not halve it again.
    """

    ceiling: int
    value: float
    decreased_at: float = float("-inf")

    def __int__(self) -> int:
        return max(1, int(self.value))

    def succeeded(self, in_flight: int) -> "AimdLimit":
        """After a call that went through while so many were in flight, itself included."""
        if in_flight < int(self):
            return self  # not used to the full: this says nothing about a higher limit
        return msgspec.structs.replace(self, value=min(self.ceiling, self.value + 1 / self.value))

    def overloaded(self, started_at: float, now: float) -> "AimdLimit":
        """After a call, begun at `started_at`, that the service had no capacity for."""
        if started_at <= self.decreased_at:
            return self
        return AimdLimit(self.ceiling, max(1.0, self.value / 2), now)


class TokenBucket(msgspec.Struct):
    """At most `burst` calls at once and `rate` a second over time (the way AWS counts API quotas)."""

    rate: float
    burst: float
    tokens: float
    filled_at: float

    def take(self, now: float) -> float:
        """Take a token and return 0.0, or return the seconds until there is one."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0
