"""Time, passed in where it is needed so that tests and simulations can own it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps and retention, monotonic time for waits."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long by the monotonic clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)
