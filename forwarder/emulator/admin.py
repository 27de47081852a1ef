"""The emulator's own API under `/_emulator/`: what was delivered, the books, the sources' states, and faults."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from forwarder.emulator.faults import FaultRule, Faults
from forwarder.emulator.sources import PartnerSource, SourceState, arn
from forwarder.emulator.state import State

_PREFIX = "/_emulator/"
_SOURCE_STATE_PREFIX, _SOURCE_STATE_SUFFIX = "sources/", "/state"

_Shape = TypeVar("_Shape")
Count = Annotated[int, msgspec.Meta(ge=0)]


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of `GET /_emulator/events`. `since` is a sequence number, exclusive."""

    source: str | None = None
    since: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class StateChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /_emulator/sources/{name}/state`. `region` is needed where several have a source of the name."""

    state: SourceState
    region: str | None = None


class _AdminError(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admin:
    """Answers requests whose path begins with `/_emulator/`."""

    def __init__(self, state: State, faults: Faults, clock: Callable[[], float]) -> None:
        self._state = state
        self._faults = faults
        self._clock = clock

    def handle(self, method: str, target: str, body: bytes) -> web.Response:
        """Answer one request; `target` is path and query as they came. What is wrong with it is said in `error`."""
        text = target.encode(errors="surrogateescape").decode(errors="replace")  # aiohttp escapes what is not UTF-8
        path, _, query = text.partition("?")
        try:
            content = self._route(method, unquote(path.removeprefix(_PREFIX)), query, body)
        except _AdminError as error:
            content, status = msgspec.json.encode({"error": str(error)}), error.status
        else:
            status = HTTPStatus.OK
        return web.Response(body=content, status=status, content_type="application/json")

    def _route(self, method: str, path: str, query: str, body: bytes) -> bytes:
        match method, path:
            case "GET", "events":
                return self._events(query)
            case "GET", "stats":
                return msgspec.json.encode(self._state.stats())
            case "GET", "sources":
                now = self._clock()
                return msgspec.json.encode({"sources": [_view(*item) for item in self._state.sources(now)]})
            case (("GET" | "POST" | "DELETE"), "faults"):
                return self._fault_rules(method, body)
            case "POST", _ if path.startswith(_SOURCE_STATE_PREFIX) and path.endswith(_SOURCE_STATE_SUFFIX):
                name = path.removeprefix(_SOURCE_STATE_PREFIX).removesuffix(_SOURCE_STATE_SUFFIX)
                return self._change_state(name, _decoded(body, StateChange))
        raise _AdminError(
            HTTPStatus.NOT_FOUND,
            f"no {method} {_PREFIX}{path}; there are GET events, stats, sources; GET, POST, DELETE faults; "
            "POST sources/{name}/state",
        )

    def _events(self, query: str) -> bytes:
        try:
            wanted = msgspec.convert(dict(parse_qsl(query)), EventsQuery, strict=False)
        except msgspec.ValidationError as error:
            raise _AdminError(HTTPStatus.BAD_REQUEST, f"query: {error}") from None
        found = self._state.events(source=wanted.source, since=wanted.since, limit=wanted.limit)
        # A page cut short goes on after its last event; else the caller has seen all there is, of whatever source.
        log = self._state.log
        cut = found and len(found) == wanted.limit
        next_since = found[-1].sequence if cut else max(wanted.since, log.last)
        head = f'"next":{next_since},"oldest":{log.oldest}}}'.encode()
        return b'{"events":[' + b",".join(event.envelope() for event in found) + b"]," + head

    def _fault_rules(self, method: str, body: bytes) -> bytes:
        if method == "DELETE":
            self._faults.clear()
        elif method == "POST":
            rule = _decoded(body, FaultRule)
            try:
                self._faults.set(rule)
            except ValueError as error:
                raise _AdminError(HTTPStatus.CONFLICT, str(error)) from None
        return msgspec.json.encode({"rules": self._faults.rules})

    def _change_state(self, name: str, change: StateChange) -> bytes:
        now = self._clock()
        regions = [change.region] if change.region else self._state.regions_of(name, now)
        if len(regions) > 1:
            places = ", ".join(regions)
            raise _AdminError(HTTPStatus.CONFLICT, f'{name} is in {places}: say which with "region"')
        if not regions or not self._state.set_source_state(regions[0], name, change.state, now):
            where = f" in {change.region}" if change.region else ""
            raise _AdminError(HTTPStatus.NOT_FOUND, f"there is no event source {name}{where}: create it first")
        return msgspec.json.encode({"name": name, "region": regions[0], "state": change.state})


def _decoded(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _AdminError(HTTPStatus.BAD_REQUEST, f"body: {error}") from None


def _view(region: str, source: PartnerSource) -> dict[str, object]:
    return {
        "name": source.name,
        "region": region,
        "account": source.account,
        "state": source.state,
        "arn": arn(region, source.name),
        "created_at": source.created_at,
        "expires_at": source.expires_at,
    }
