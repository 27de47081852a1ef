"""What a sink is. A new one is one file beside this one and one line in `plugins.py` (or an entry point)."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from forwarder.model import Delivery, Destination, EntryResult, Reason


class Sink(Protocol):
    """Somewhere entries go, one call at a time. The lanes own batching, retries and concurrency; a sink makes one call
    and says what came of it."""

    name: ClassVar[str]

    def entry_size(self, destination: Destination, delivery: Delivery) -> int:
        """The entry's size in bytes by the formula that the sink's limit is counted in."""
        ...

    def entry_fault(self, destination: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        """Why this entry can never be accepted, as (reason, sentence), or None. Asked before sending, so that one bad
        entry does not fail its whole call."""
        ...

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        """Make one call, once. Returns one result per delivery, in order.

        Raises:
            PutError: the call as a whole failed, or its answer never came.
        """
        ...

    async def close(self) -> None:
        """Close connections. Safe to call twice."""
        ...
