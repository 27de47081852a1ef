"""The route table of `/api/dead-letters`: look at them, have them sent again, delete them for good."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
import structlog
from aiohttp import web

from forwarder.api.letter import Letter, as_letter
from forwarder.api.operation import Operation, json
from forwarder.api.reading import read_body, read_query
from forwarder.errors import SpoolError
from forwarder.model import Reason
from forwarder.ops.http import CALLER
from forwarder.ops.refusals import Fault, Refused
from forwarder.spool.base import DeadLetterFilter, Spool

_log = structlog.get_logger("forwarder.audit")

T = TypeVar("T")

PATH = "/api/dead-letters"

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Which(msgspec.Struct, frozen=True):
    """The dead letters that are meant: all that are of this integration, for this reason, older than so many seconds
    and among these ids, as far as each is given."""

    integration: str | None = None
    reason: Reason | None = None
    older_than: Seconds | None = None
    ids: list[Number] | None = None

    def filter(self) -> DeadLetterFilter:
        """The same for the spool."""
        ids = None if self.ids is None else tuple(self.ids)
        return DeadLetterFilter(self.integration, self.reason, self.older_than, ids)


class Listing(Which, frozen=True):
    """Which page: the dead letters that follow the id `after`."""

    after: Number = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Change(Which, frozen=True):
    """What is to be done with which: `all` must be said where nothing else is; `dry_run` only counts."""

    all: bool = False
    dry_run: bool = False


class Letters(msgspec.Struct, frozen=True):
    """A page of dead letters, oldest first. `next_after` asks for the next page; null: this is the last."""

    dead_letters: list[Letter]
    next_after: int | None


class Redriven(msgspec.Struct, frozen=True):
    """How many were, or in a dry run would be, sent again."""

    redriven: int
    dry_run: bool


class Purged(msgspec.Struct, frozen=True):
    """How many were, or in a dry run would be, deleted."""

    purged: int
    dry_run: bool


def operations(spool: Spool, look: Callable[[str | None], None]) -> list[Operation]:
    """The table. `look` wakes the lane of an integration, or all of them: there is something to send again."""

    async def list_(request: web.Request) -> web.Response:
        query = read_query(Listing, request.query)
        rows = await _spooled(spool.dead_letters(query.filter(), after=query.after, limit=query.limit + 1))
        shown = rows[: query.limit]
        return json(Letters([as_letter(row) for row in shown], shown[-1].id if len(rows) > len(shown) else None))

    async def redrive(request: web.Request) -> web.Response:
        change = _read_change(await request.read())
        if change.dry_run:
            return json(Redriven(await _spooled(spool.count_dead_letters(change.filter())), dry_run=True))
        try:
            count = await _spooled(spool.redrive(change.filter()))
        finally:
            look(change.integration)  # one that fails halfway has put some back
        _audit(request, "redrive", change, count)
        return json(Redriven(count, dry_run=False))

    async def purge(request: web.Request) -> web.Response:
        change = _read_change(await request.read())
        if change.dry_run:
            return json(Purged(await _spooled(spool.count_dead_letters(change.filter())), dry_run=True))
        count = await _spooled(spool.purge(change.filter()))
        _audit(request, "purge", change, count)
        return json(Purged(count, dry_run=False))

    return [
        Operation("GET", PATH, "listDeadLetters", "List dead letters", list_, Letters, Listing),
        Operation(
            "POST", f"{PATH}/redrive", "redriveDeadLetters", "Send dead letters again", redrive, Redriven, body=Change
        ),
        Operation("POST", f"{PATH}/purge", "purgeDeadLetters", "Delete dead letters", purge, Purged, body=Change),
    ]


def _read_change(body: bytes) -> Change:
    change = read_body(Change, body)
    if change.filter() == DeadLetterFilter() and not change.all:
        raise Refused(400, faults=[Fault("Say which dead letters are meant, or all", "all", "missing.value")])
    return change


def _audit(request: web.Request, action: str, change: Change, count: int) -> None:
    caller = request[CALLER]
    which = {name: value for name, value in msgspec.structs.asdict(change).items() if value not in (None, False)}
    _log.info("audit", who=caller.kind, peer=caller.peer, action=f"dead-letters {action}", which=which, count=count)


async def _spooled(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except SpoolError as error:
        raise Refused(503, str(error)) from None
