"""`/livez`, `/readyz` and `/metrics`: what orchestrators and Prometheus ask."""

from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from forwarder.clock import Clock
from forwarder.ops.metrics import Metrics
from forwarder.ops.snapshot import Snapshot

SnapshotProvider = Callable[[], Awaitable[Snapshot]]


def routes(snapshot: SnapshotProvider, metrics: Metrics, clock: Clock) -> list[web.RouteDef]:
    """The three, for the Http server's route table."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_request: web.Request) -> web.Response:
        reasons = list(reasons_not_ready(await snapshot()))
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def scrape(request: web.Request) -> web.Response:
        state = await snapshot()
        body, content_type = metrics.render(state, clock.now(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", scrape)]


def reasons_not_ready(snapshot: Snapshot) -> Iterator[str]:
    """Why notifications do not flow in now, or nothing. One integration's trouble is its own and no reason."""
    if snapshot.draining:
        yield "the daemon is stopping"
    if not snapshot.intake_health.connected:
        yield f"the intake {snapshot.intake} is not connected: {snapshot.intake_health.detail}"
    if snapshot.receiver_trouble:
        yield f"nothing is taken from the intake: {snapshot.receiver_trouble}"
    if not snapshot.spool_answering:
        yield "the spool does not answer: its disk hangs or fails"
    if snapshot.spool.bytes_used >= snapshot.spool.bytes_limit:
        yield f"the spool is full: {snapshot.spool.bytes_used} of {snapshot.spool.bytes_limit} bytes"
    reload = snapshot.reload
    if not reload.succeeded and not snapshot.integrations:
        yield "the integrations could not be read" if reload.failed else "the integrations have not been read yet"
