"""How long an event that cannot be delivered is kept."""

import msgspec


class Retention(msgspec.Struct):
    """Seconds from receipt to expiry. Receipts are stamped with the wall clock, which may be set while events wait."""

    seconds: float

    def expired_by(self, now: float) -> float:
        """What was received up to this time (epoch seconds) has expired."""
        return now - self.seconds

    def clock_was_set(self, step: float) -> None:
        """Take note that the wall clock jumped by so many seconds. Forward, everything seems older than it is: rather
        keep it for too long. Backward, everything seems younger, which errs on the same side."""
        self.seconds += max(0.0, step)
