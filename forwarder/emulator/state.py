"""What the emulated service knows: partner event sources by region, delivered events, and its books. Pure: the time is
passed in, nothing waits."""

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from uuid import uuid4

from forwarder.emulator import wire
from forwarder.emulator.entries import Fault, entry_fault, entry_sizes, source_fault
from forwarder.emulator.event_log import Event, EventLog
from forwarder.emulator.sources import PartnerSource, Region, SourceState, Tally, arn

FaultInjector = Callable[[str, str], Fault | None]
"""Says of a region and a source whether an entry that is in order shall fail all the same."""

_NOT_AUTHORIZED: Fault = ("NotAuthorizedForSourceException", "Not authorized for the source.")


class State:
    """Everything the emulator remembers, bounded: `max_sources` a region, `max_events` and `max_bytes` of events."""

    def __init__(self, *, auto_associate: bool, max_sources: int, max_events: int, max_bytes: int) -> None:
        self._auto_associate = auto_associate
        self._max_sources = max_sources
        self._regions: dict[str, Region] = {}
        # An event's id has the form of a UUID and is its sequence number behind digits of this run's own.
        self._id_prefix = str(uuid4())[:-12]
        self.log = EventLog(max_events=max_events, max_bytes=max_bytes)
        self.refused: Counter[str] = Counter()
        """Calls that could not be told to belong to a region, by error code: bad signatures, unknown operations."""

    def create_source(self, region: str, request: wire.SourceAccountRequest, now: float) -> wire.CreateAnswer:
        """CreatePartnerEventSource. The source is PENDING until the customer associates it with a bus.

        Raises:
            ApiError: ResourceAlreadyExistsException, LimitExceededException.
        """
        name, account = request.name or "", request.account or ""
        sources = self._region(region)
        if sources.live(name, now):
            raise wire.ApiError("ResourceAlreadyExistsException", f"EventSource {name} already exists.")
        state = SourceState.ACTIVE if self._auto_associate else SourceState.PENDING
        if not sources.add(name, account, state, now, self._max_sources):
            raise wire.ApiError("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
        return wire.CreateAnswer(event_source_arn=arn(region, name))

    def delete_source(self, region: str, request: wire.SourceAccountRequest, now: float) -> wire.EmptyAnswer:
        """DeletePartnerEventSource. The model knows no "not found" here: what is not there is deleted."""
        source = self._region(region).live(request.name or "", now)
        if source and source.account == request.account:
            source.enter(SourceState.DELETED, now)
        return wire.EmptyAnswer()

    def describe_source(self, region: str, request: wire.DescribeRequest, now: float) -> wire.SourceAnswer:
        """DescribePartnerEventSource.

        Raises:
            ApiError: ResourceNotFoundException.
        """
        source = self._region(region).live(request.name or "", now)
        if source is None:
            raise _not_found(request.name)
        return wire.SourceAnswer(arn=arn(region, source.name), name=source.name)

    def list_sources(self, region: str, request: wire.ListSourcesRequest, now: float) -> wire.ListSourcesAnswer:
        """ListPartnerEventSources, by name.

        Raises:
            ApiError: InvalidToken.
        """
        prefix, after = request.name_prefix or "", _from_token(request.next_token)
        live = (source.name for source in self._region(region).all_live(now))
        names = sorted(name for name in live if name.startswith(prefix) and name > after)
        limit = request.limit or wire.MAX_LIST_LIMIT
        return wire.ListSourcesAnswer(
            partner_event_sources=tuple(wire.SourceAnswer(arn=arn(region, name), name=name) for name in names[:limit]),
            next_token=_to_token(names[limit - 1]) if len(names) > limit else None,
        )

    def list_accounts(self, region: str, request: wire.ListAccountsRequest, now: float) -> wire.ListAccountsAnswer:
        """ListPartnerEventSourceAccounts. A source is offered to one account, so there is one page; it tells of a
        DELETED source too, until a new one takes its name.

        Raises:
            ApiError: ResourceNotFoundException, InvalidToken.
        """
        if request.next_token is not None:
            raise _invalid_token()
        source = self._region(region).get(request.event_source_name or "", now)
        if source is None:
            raise _not_found(request.event_source_name)
        answer = wire.AccountAnswer(
            account=source.account,
            creation_time=source.created_at,
            expiration_time=source.expires_at,
            state=source.state,
        )
        return wire.ListAccountsAnswer(partner_event_source_accounts=(answer,))

    def put_events(
        self, region: str, request: wire.PutRequest, now: float, injected: FaultInjector | None = None
    ) -> wire.PutAnswer:
        """PutPartnerEvents: every entry is judged alone; one that fails does not keep the others.

        Raises:
            ApiError: ValidationException, where the entries together are too large.
        """
        entries = request.entries or ()
        sizes = entry_sizes(entries)
        known = self._region(region)
        answers = [self._put(known, entry, size, now, injected) for entry, size in zip(entries, sizes, strict=True)]
        return wire.PutAnswer(
            failed_entry_count=sum(answer.error_code is not None for answer in answers), entries=answers
        )

    def _put(
        self, region: Region, entry: wire.Entry, size: int, now: float, injected: FaultInjector | None
    ) -> wire.EntryAnswer:
        name = entry.source or ""
        source = region.live(name, now)
        fault = entry_fault(entry) or (None if source else source_fault(name) or _NOT_AUTHORIZED)
        if fault is None and injected:
            fault = injected(region.name, name)
        if fault or source is None:
            code, message = fault or _NOT_AUTHORIZED
            (source.tally if source else region.others).failed[code] += 1
            return wire.EntryAnswer(error_code=code, error_message=message)
        if source.state is SourceState.PENDING:
            source.tally.dropped += 1
            return wire.EntryAnswer(event_id=str(uuid4()))
        return wire.EntryAnswer(event_id=self._deliver(region.name, source, entry, size, now))

    def _deliver(self, region: str, source: PartnerSource, entry: wire.Entry, size: int, now: float) -> str:
        sequence = self.log.last + 1
        event = Event(
            sequence=sequence,
            id=f"{self._id_prefix}{sequence:012x}",
            detail_type=entry.detail_type or "",
            source=source.name,
            account=source.account,
            time=now if entry.time is None else entry.time,
            region=region,
            resources=entry.resources or (),
            detail=(entry.detail or "").encode(),
            size=size,
        )
        self.log.append(event)
        source.tally.delivered += 1
        return event.id

    def events(self, *, source: str | None = None, since: int = 0, limit: int | None = None) -> list[Event]:
        """Delivered events that are still kept, oldest first: those after the sequence number `since`, of one source
        where it is named (in any region), at most `limit`."""
        found = (event for event in self.log.since(since) if source is None or event.source == source)
        return list(islice(found, limit))

    def set_source_state(self, region: str, name: str, state: SourceState, now: float) -> bool:
        """What the customer, or time, does to a source. Says whether there is such a source."""
        known = self._regions.get(region)
        source = known.get(name, now) if known else None
        if source is not None:
            source.enter(state, now)
        return source is not None

    def regions_of(self, name: str, now: float) -> list[str]:
        """The regions that know a source of this name."""
        return [region.name for region in self._regions.values() if region.get(name, now)]

    def sources(self, now: float) -> Iterator[tuple[str, PartnerSource]]:
        """All sources, DELETED ones too, each with its region."""
        for region in self._regions.values():
            for source in region.all(now):
                yield region.name, source

    def count_call(self, region: str, operation: str, outcome: str) -> None:
        """Book how a call ended."""
        self._region(region).calls.setdefault(operation, Counter())[outcome] += 1

    def stats(self) -> dict[str, object]:
        """The books, ready to be JSON: `calls` by outcome, `entries`, the same by region and source, kept `events`."""
        regions = self._regions.values()
        outcomes = sum((sum(region.calls.values(), Counter()) for region in regions), Counter(self.refused))
        total = Tally.total(region.tally for region in regions)
        return {
            "calls": {"total": outcomes.total(), "outcomes": outcomes, "refused": self.refused},
            "entries": total.view(),
            "regions": {region.name: region.view() for region in regions},
            "events": {
                "kept": len(self.log),
                "kept_bytes": self.log.kept_bytes,
                "evicted": self.log.evicted,
                "last_sequence": self.log.last,
            },
        }

    def _region(self, name: str) -> Region:
        return self._regions.get(name) or self._regions.setdefault(name, Region(name))


def _not_found(name: str | None) -> wire.ApiError:
    return wire.ApiError("ResourceNotFoundException", f"EventSource {name} does not exist.")


def _invalid_token() -> wire.ApiError:
    return wire.ApiError("InvalidToken", "The NextToken is not valid.")


def _to_token(name: str) -> str:
    return b64encode(name.encode()).decode()


def _from_token(token: str | None) -> str:
    try:
        return b64decode(token or "", validate=True).decode()
    except ValueError:
        raise _invalid_token() from None
