"""`/api/status`: the snapshot as JSON, for `forwarder status`, the console and scripts."""

from typing import Any

import msgspec
from aiohttp import web

from forwarder.clock import Clock
from forwarder.model import IntegrationStatus
from forwarder.ops.build import version
from forwarder.ops.masking import Masker
from forwarder.ops.probes import SnapshotProvider, reasons_not_ready
from forwarder.ops.snapshot import Snapshot
from forwarder.spool.base import IntakeBooks, LaneBooks


def routes(snapshot: SnapshotProvider, masker: Masker, clock: Clock) -> list[web.RouteDef]:
    """The one route, for the Http server's route table."""

    async def status(_request: web.Request) -> web.Response:
        body = masker.mask(describe(await snapshot(), clock.now()))
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    return [web.get("/api/status", status)]


def describe(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """The snapshot in JSON's own types. Times are epoch seconds."""
    reasons = list(reasons_not_ready(snapshot))
    oldest = snapshot.spool.oldest_received_at
    return {
        "version": version(),
        "now": now,
        "started_at": snapshot.started_at,
        "draining": snapshot.draining,
        "ready": not reasons,
        "reasons": reasons,
        "intake": {"name": snapshot.intake, **_plain(snapshot.intake_health), "trouble": snapshot.receiver_trouble},
        "spool": {
            **_plain(snapshot.spool),
            "answering": snapshot.spool_answering,
            "full": snapshot.spool.bytes_used >= snapshot.spool.bytes_limit,
            "oldest_seconds": None if oldest is None else max(0.0, now - oldest),
        },
        "integrations": [_integration(snapshot, status) for status in snapshot.integrations],
        "books": {
            "intakes": {name: _intake_books(books) for name, books in snapshot.books.intakes.items()},
            "integrations": {id_: _lane_books(books) for id_, books in snapshot.books.lanes.items()},
        },
        "lanes": {id_: _plain(lane) for id_, lane in snapshot.lanes.items()},
        "regions": {name: _plain(region) for name, region in snapshot.regions.items()},
        "reload": _plain(snapshot.reload),
    }


def _integration(snapshot: Snapshot, status: IntegrationStatus) -> dict[str, Any]:
    source = snapshot.sources.get(status.integration.id)
    return {
        **_plain(status.integration),
        "event_source_name": status.destination.event_source_name,
        "state": status.state,
        "reason": status.reason,
        "takes_events": status.takes_events,
        "sends": status.sends,
        "event_source": _plain(source) if source else None,
    }


def _intake_books(books: IntakeBooks) -> dict[str, Any]:
    return {"received": books.received, **_plain(books)}


def _lane_books(books: LaneBooks) -> dict[str, Any]:
    return {**_plain(books), "pending": books.pending}


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain
