"""Partner event sources of one region, and the books kept by source."""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

EXPIRES_AFTER_SECONDS = 7 * 24 * 3600
"""How long a source waits for its customer. AWS does not promise a number; partners read ExpirationTime."""


class SourceState(StrEnum):
    """EventSourceState of the service model."""

    PENDING = "PENDING"
    """The customer has no bus for it: entries are accepted and dropped."""
    ACTIVE = "ACTIVE"
    """Entries reach the customer's bus."""
    DELETED = "DELETED"
    """Entries are refused; the name may be created anew."""


class Tally(msgspec.Struct):
    """What became of entries. Accepted is what the caller was told; dropped ones among them went nowhere."""

    delivered: int = 0
    dropped: int = 0
    failed: Counter[str] = msgspec.field(default_factory=Counter)

    def view(self) -> dict[str, object]:
        """Ready to be JSON."""
        return {
            "accepted": self.delivered + self.dropped,
            "delivered": self.delivered,
            "dropped": self.dropped,
            "failed": self.failed.total(),
            "failed_by_code": self.failed,
        }

    @classmethod
    def total(cls, tallies: Iterable["Tally"]) -> "Tally":
        """The sum of several."""
        result = cls()
        for tally in tallies:
            result.delivered += tally.delivered
            result.dropped += tally.dropped
            result.failed += tally.failed
        return result


class PartnerSource(msgspec.Struct):
    """One partner event source, offered to one account. Times are epoch seconds; only PENDING ones expire."""

    name: str
    account: str
    state: SourceState
    created_at: float
    expires_at: float | None
    tally: Tally = msgspec.field(default_factory=Tally)

    def enter(self, state: SourceState, now: float) -> None:
        """Change the state; a source that is PENDING again has its whole time before it again."""
        self.state = state
        self.expires_at = now + EXPIRES_AFTER_SECONDS if state is SourceState.PENDING else None

    def expire(self, now: float) -> None:
        """Delete it if nobody has associated it in time."""
        if self.expires_at is not None and now >= self.expires_at:
            self.enter(SourceState.DELETED, now)


class Region:
    """The sources of a region by name, its calls by operation and outcome, and its entries' books."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: dict[str, Counter[str]] = {}
        self.others = Tally()
        """Entries whose source is not, or no longer, on record."""
        self._sources: dict[str, PartnerSource] = {}

    def get(self, name: str, now: float) -> PartnerSource | None:
        """The source on record, DELETED or not."""
        source = self._sources.get(name)
        if source is not None:
            source.expire(now)
        return source

    def live(self, name: str, now: float) -> PartnerSource | None:
        """The source, if there is one that is not DELETED."""
        source = self.get(name, now)
        return None if source is None or source.state is SourceState.DELETED else source

    def all(self, now: float) -> Iterator[PartnerSource]:
        """Every source on record."""
        for source in self._sources.values():
            source.expire(now)
            yield source

    def all_live(self, now: float) -> Iterator[PartnerSource]:
        """Every source that is not DELETED."""
        return (source for source in self.all(now) if source.state is not SourceState.DELETED)

    def add(self, name: str, account: str, state: SourceState, now: float, limit: int) -> bool:
        """Put a new source on record, in the place of a DELETED one of its name. Says False where `limit` live ones are
        there; DELETED ones give way, oldest first, and leave their numbers to `others`."""
        if name not in self._sources and len(self._sources) >= limit and not self._forget_a_deleted_one():
            return False
        source = PartnerSource(name=name, account=account, state=state, created_at=now, expires_at=None)
        source.enter(state, now)
        earlier = self._sources.pop(name, None)
        source.tally = earlier.tally if earlier else source.tally
        self._sources[name] = source
        return True

    def _forget_a_deleted_one(self) -> bool:
        gone = next((source for source in self._sources.values() if source.state is SourceState.DELETED), None)
        if gone is None:
            return False
        self.others = Tally.total((self.others, self._sources.pop(gone.name).tally))
        return True

    @property
    def tally(self) -> Tally:
        """The region's books."""
        return Tally.total((self.others, *(source.tally for source in self._sources.values())))

    def view(self) -> dict[str, object]:
        """Ready to be JSON."""
        return {
            "calls": self.calls,
            "entries": self.tally.view(),
            "sources": {source.name: source.tally.view() for source in self._sources.values()},
            "other_sources": self.others.view(),
        }


def arn(region: str, name: str) -> str:
    """A partner event source's ARN. It has no account: the source is the partner's and the customer's."""
    return f"arn:{_partition(region)}:events:{region}::event-source/{name}"


def _partition(region: str) -> str:
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b"}
    prefixes |= {"eu-isoe-": "aws-iso-e", "us-isof-": "aws-iso-f", "eusc-": "aws-eusc"}
    return next((partition for prefix, partition in prefixes.items() if region.startswith(prefix)), "aws")
