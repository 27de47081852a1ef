"""Whether the spool answers, and what it said last: a disk that hangs must not silence all that does not need it."""

import asyncio
from collections.abc import Awaitable, Callable

from forwarder.errors import SpoolError
from forwarder.spool.base import SpoolUsage

PATIENCE = 5.0
"""Seconds that are waited for an answer."""


class SpoolWatch:
    """Asks one question at a time: while one hangs, no other joins it. `last` is the usage as it was last told."""

    def __init__(self, ask: Callable[[], Awaitable[SpoolUsage]], last: SpoolUsage) -> None:
        self.last = last
        self.answering = True
        self._ask = ask
        self._asking: asyncio.Future[SpoolUsage] | None = None

    async def look(self) -> None:
        """Ask, and wait for the answer no longer than PATIENCE."""
        asking = self._asking = self._asking or asyncio.ensure_future(self._ask())
        await asyncio.wait({asking}, timeout=PATIENCE)
        if not asking.done():
            self.answering = False
            return
        if self._asking is asking:
            self._asking = None
        try:
            self.last = asking.result()
        except SpoolError:
            self.answering = False
        else:
            self.answering = True
