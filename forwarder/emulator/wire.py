"""The partner half of EventBridge's API as it is on the wire: AWS JSON 1.1, service model `events` of 2015-10-07.

Requests decode into structs in which everything may be missing, because the service itself answers for what is missing
or out of bounds (a ValidationException that names every violation) and a client library checks little of it.
"""

import re
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

MAX_ENTRIES = 20
MAX_LIST_LIMIT = 100

SOURCE_NAME = re.compile(r"aws\.partner(/[\.\-_A-Za-z0-9]+){2,}")
_SOURCE_PREFIX = re.compile(r"aws\.partner/[\.\-_A-Za-z0-9]+/[/\.\-_A-Za-z0-9]*")
_ACCOUNT = re.compile(r"[0-9]{12}")


class ApiError(Exception):
    """A call that the service refuses as a whole. `code` is the error's name in the service model."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> bytes:
        """The error as AWS JSON 1.1 writes it."""
        message = self.message.encode(errors="replace").decode()  # it may quote bytes of a header that are not UTF-8
        return msgspec.json.encode({"__type": self.code, "message": message})


class Request(Protocol):
    """What every operation's input can say of itself."""

    def source_names(self) -> Collection[str]:
        """The event sources that the call is about."""
        ...

    def violations(self) -> Iterable[str]:
        """Every constraint of the service model that the call as a whole breaks."""
        ...


class _Shape(msgspec.Struct, frozen=True, rename="pascal"):
    """A structure of the service model. Unknown members are ignored, as the service does."""


class SourceAccountRequest(_Shape, frozen=True):
    """Input of CreatePartnerEventSource and DeletePartnerEventSource."""

    name: str | None = None
    account: str | None = None

    def source_names(self) -> Collection[str]:
        """The source to create or delete."""
        return (self.name or "",)

    def violations(self) -> Iterable[str]:
        """Both are required and have a pattern."""
        yield from _source_name_violations("name", self.name)
        yield from _text_violations("account", self.account, 12, 12, _ACCOUNT)


class DescribeRequest(_Shape, frozen=True):
    """Input of DescribePartnerEventSource."""

    name: str | None = None

    def source_names(self) -> Collection[str]:
        """The source to describe."""
        return (self.name or "",)

    def violations(self) -> Iterable[str]:
        """The name is required and has a pattern."""
        return _source_name_violations("name", self.name)


class _PagedRequest(_Shape, frozen=True):
    next_token: str | None = None
    limit: int | None = None

    def _page_violations(self) -> Iterable[str]:
        if self.next_token is not None:
            yield from _text_violations("nextToken", self.next_token, 1, 2048)
        if self.limit is not None and self.limit < 1:
            yield _violation(self.limit, "limit", "Member must have value greater than or equal to 1")
        if self.limit is not None and self.limit > MAX_LIST_LIMIT:
            yield _violation(self.limit, "limit", f"Member must have value less than or equal to {MAX_LIST_LIMIT}")


class ListSourcesRequest(_PagedRequest, frozen=True):
    """Input of ListPartnerEventSources."""

    name_prefix: str | None = None

    def source_names(self) -> Collection[str]:
        """A listing is about no source in particular."""
        return ()

    def violations(self) -> Iterable[str]:
        """The prefix is required."""
        yield from _text_violations("namePrefix", self.name_prefix, 1, 256, _SOURCE_PREFIX)
        yield from self._page_violations()


class ListAccountsRequest(_PagedRequest, frozen=True):
    """Input of ListPartnerEventSourceAccounts."""

    event_source_name: str | None = None

    def source_names(self) -> Collection[str]:
        """The source whose accounts are asked for."""
        return (self.event_source_name or "",)

    def violations(self) -> Iterable[str]:
        """The name is required."""
        yield from _source_name_violations("eventSourceName", self.event_source_name)
        yield from self._page_violations()


class Entry(_Shape, frozen=True, gc=False):
    """PutPartnerEventsRequestEntry. `time` is in epoch seconds."""

    time: int | float | None = None
    source: str | None = None
    resources: tuple[str, ...] | None = None
    detail_type: str | None = None
    detail: str | None = None


class PutRequest(_Shape, frozen=True):
    """Input of PutPartnerEvents."""

    entries: tuple[Entry, ...] | None = None

    def source_names(self) -> Collection[str]:
        """The sources of all entries."""
        return {entry.source or "" for entry in self.entries or ()}

    def violations(self) -> Iterable[str]:
        """One to twenty entries. What is wrong with a single entry is answered for that entry alone."""
        if self.entries is None:
            yield _violation(None, "entries", "Member must not be null")
        elif not self.entries:
            yield _violation([], "entries", "Member must have length greater than or equal to 1")
        elif len(self.entries) > MAX_ENTRIES:
            shown = f"[{len(self.entries)} entries]"
            yield _violation(shown, "entries", f"Member must have length less than or equal to {MAX_ENTRIES}")


class CreateAnswer(_Shape, frozen=True):
    """Output of CreatePartnerEventSource."""

    event_source_arn: str


class EmptyAnswer(_Shape, frozen=True):
    """Output of an operation that has nothing to say."""


class SourceAnswer(_Shape, frozen=True):
    """Output of DescribePartnerEventSource, and one item of ListPartnerEventSources."""

    arn: str
    name: str


class ListSourcesAnswer(_Shape, frozen=True, omit_defaults=True):
    """Output of ListPartnerEventSources."""

    partner_event_sources: tuple[SourceAnswer, ...]
    next_token: str | None = None


class AccountAnswer(_Shape, frozen=True, omit_defaults=True):
    """One account of ListPartnerEventSourceAccounts. Times are epoch seconds."""

    account: str
    creation_time: float
    state: str
    expiration_time: float | None = None


class ListAccountsAnswer(_Shape, frozen=True, omit_defaults=True):
    """Output of ListPartnerEventSourceAccounts."""

    partner_event_source_accounts: tuple[AccountAnswer, ...]
    next_token: str | None = None


class EntryAnswer(_Shape, frozen=True, omit_defaults=True, gc=False):
    """What became of one entry: an id, or an error."""

    event_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class PutAnswer(_Shape, frozen=True):
    """Output of PutPartnerEvents; `entries` is index-aligned with the request's."""

    failed_entry_count: int
    entries: list[EntryAnswer]


def validate(request: Request) -> None:
    """Refuse a request that breaks the service model's constraints, naming all of them, as the service does.

    Raises:
        ApiError: ValidationException.
    """
    found = list(request.violations())
    if found:
        plural = "s" if len(found) > 1 else ""
        raise ApiError("ValidationException", f"{len(found)} validation error{plural} detected: {'; '.join(found)}")


def _source_name_violations(member: str, value: str | None) -> Iterable[str]:
    return _text_violations(member, value, 1, 256, SOURCE_NAME)


def _text_violations(
    member: str, value: str | None, shortest: int, longest: int, pattern: re.Pattern[str] | None = None
) -> Iterable[str]:
    if value is None:
        yield _violation(None, member, "Member must not be null")
        return
    if len(value) < shortest:
        yield _violation(value, member, f"Member must have length greater than or equal to {shortest}")
    if len(value) > longest:
        yield _violation(value, member, f"Member must have length less than or equal to {longest}")
    if pattern is not None and not pattern.fullmatch(value):
        yield _violation(value, member, f"Member must satisfy regular expression pattern: {pattern.pattern}")


def _violation(value: object, member: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{member}' failed to satisfy constraint: {constraint}"
