"""The daemon: builds the parts, runs them in one TaskGroup, stops them in order."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from forwarder.api.administration import Administration, Live
from forwarder.api.integration_files import Files
from forwarder.api.routes import Api
from forwarder.console import routes as console
from forwarder.dispatcher import Dispatcher
from forwarder.integrations.configuration import Configuration
from forwarder.integrations.regions import eventbridge_regions
from forwarder.lane import LaneContext
from forwarder.model import Destination, Integration, IntegrationStatus
from forwarder.ops import probes, status
from forwarder.ops.access import Access
from forwarder.ops.http import Http
from forwarder.ops.masking import Masker
from forwarder.ops.metrics import Metrics
from forwarder.ops.snapshot import Snapshot
from forwarder.ops.spool_watch import SpoolWatch
from forwarder.receiver import Receiver
from forwarder.reconciler import Reconciler
from forwarder.record import LifecycleRecord, record_path
from forwarder.region_gate import RegionGate
from forwarder.reloader import Reloader
from forwarder.rules.batching import CallLimits
from forwarder.rules.routing_table import RoutingTable
from forwarder.rules.validation import Rules, event_source_name
from forwarder.spool.base import Books, Record, SpoolUsage
from forwarder.spool.sqlite import SqliteSpool
from forwarder.surroundings import Configured, Surroundings, surroundings
from forwarder.topics import Catalogue

log = structlog.get_logger()


CLOSE_SECONDS = 2.0  # of the time to stop, at most half of it: for closing what is still open


class Daemon:
    """One daemon, built and not yet running. `run` runs it to its end; `stop` asks it to end.

    Constructing opens the state directory and must happen inside the event loop.

    Raises:
        ConfigurationError: a plug-in cannot use its settings.
        SpoolUnusableError: the state directory cannot be used.
    """

    def __init__(self, configured: Configured, around: Surroundings | None = None) -> None:
        settings = self._settings = configured.own
        around = self._around = around or surroundings(configured)
        self._clock = around.clock
        self._started_at = self._clock.now()
        self._stop = asyncio.Event()
        self._draining = False
        self._close_seconds = min(CLOSE_SECONDS, settings.shutdown_seconds / 2)
        self.hangs = False
        """After `run`: a thread hangs in the disk, and the process must end without waiting for it."""
        self._statuses: tuple[IntegrationStatus, ...] = ()
        self._filters: dict[str, tuple[str, ...]] | None = None  # not known yet
        self._gates: dict[str, RegionGate] = {}
        self._tasks = asyncio.TaskGroup()
        self.metrics = Metrics()
        self._catalogue = Catalogue.load()
        self._sink = around.sink
        self._intake = around.intake
        self._spool = SqliteSpool(
            settings.state_dir,
            max_bytes=settings.spool_max_bytes,
            max_dead_letters=settings.dead_letter_max,
            dead_letter_retention=settings.dead_letter_retention_hours * 3600,
            clock=self._clock,
            observe_commit=self.metrics.observe_commit,
            executor=around.executor,
        )
        self._spool_watch = SpoolWatch(self._spool.usage, SpoolUsage(0, settings.spool_max_bytes, None))
        self._dispatcher = self._make_dispatcher()
        self._receiver = Receiver(
            self._intake,
            self._spool,
            self._clock,
            table=RoutingTable.compile({}, self._catalogue),
            offer=self._offer,
            event_id=settings.event_id,
            hold="the integrations could not be read; the stream keeps its events until they can be",
        )
        self._rules = Rules(eventbridge_regions(), settings.event_source_prefix, settings.organization_id)
        self._reconciler = Reconciler(
            sources=around.sources,
            spool=self._spool,
            record=LifecycleRecord(record_path(settings.state_dir, settings.sink)),
            clock=self._clock,
            random=around.random,
            destination_of=self._destination_of,
            on_status=self._take_statuses,
            matched_to=self._receiver.matched_to,
            without_lane=self._without_lane,
            poll_seconds=settings.source_poll_seconds,
            reactivate_on_identity_change=settings.reactivate_on_identity_change,
            hold_while_pending=settings.hold_while_pending,
        )
        self._reloader = Reloader(
            settings.integrations_dir,
            rules=self._rules,
            poll_seconds=settings.reload_seconds,
            clock=self._clock,
            on_change=self._take_configuration,
            remembered=self._reconciler.remembered(),
            file_events=around.file_events,
        )
        self._api = self._make_api()
        masker = Masker(configured.secrets())
        access = Access(_secret(settings.admin_token), _secret(settings.viewer_token), open_paths=console.OPEN_PATHS)
        self.http = Http(
            settings.http_host,
            settings.http_port,
            rules=access,
            routes=[
                *probes.routes(self.snapshot, self.metrics, self._clock),
                *status.routes(self.snapshot, masker, self._clock),
                *console.routes(access, event_source_name(settings.event_source_prefix, settings.organization_id, "")),
                *self._api.routes(),
            ],
            on_stop=self._api.close,
        )

    def _make_dispatcher(self) -> Dispatcher:
        settings = self._settings
        context = LaneContext(
            spool=self._spool,
            sink=self._sink,
            gate=self._gate,
            metrics=self.metrics,
            clock=self._clock,
            jitter=self._around.random,
            source_gone=self._source_gone,
            linger=settings.batch_linger_ms / 1000,
        )
        return Dispatcher(
            context,
            limits=CallLimits(settings.batch_max_entries, settings.batch_max_bytes),
            retention=settings.retention_hours * 3600,
            task_group=self._tasks,
        )

    def _make_api(self) -> Api:
        live = Live(
            statuses=lambda: self._statuses,
            problems=lambda: self._reloader.view().problems,
            used_ids=self._spool.books.lanes.keys,
            reload=self._reloader.load_once,
        )
        files = Files(self._settings.integrations_dir, self._rules)
        return Api(
            Administration(files, self._rules, lifecycle=self._reconciler, live=live, clock=self._clock),
            spool=self._spool,
            look=self._dispatcher.look,
            templates=self._catalogue.templates,
            clock=self._clock,
        )

    # How the parts meet

    def _offer(self, first: int, records: Sequence[Record]) -> None:
        self._dispatcher.offer(first, records)
        self._api.offer(records)

    def _gate(self, region: str) -> RegionGate:
        if region not in self._gates:
            self._gates[region] = RegionGate(
                ceiling=self._settings.max_concurrency,
                rate=self._settings.put_calls_per_second,
                burst=self._settings.put_calls_burst,
                clock=self._clock,
            )
        return self._gates[region]

    def _destination_of(self, integration: Integration) -> Destination:
        name = event_source_name(
            self._settings.event_source_prefix, self._settings.organization_id, integration.event_source_suffix
        )
        return Destination(integration.account_id, integration.region, name)

    def _take_configuration(self, configuration: Configuration) -> None:
        self._reconciler.desire(configuration.integrations)
        if self._filters is None:  # there is no integration, and so no status
            self._take_statuses(())

    def _take_statuses(self, statuses: tuple[IntegrationStatus, ...]) -> None:
        """Swap the routing table and let the lanes and the subscriptions follow."""
        self._statuses = statuses
        self._api.administration.note(statuses)
        filters = {each.integration.id: each.integration.topic_filters for each in statuses if each.takes_events}
        if filters != self._filters:
            self._filters = filters
            self._receiver.table = RoutingTable.compile(filters, self._catalogue)
            self._receiver.hold = None
            self._intake.subscribe(self._receiver.table.subscriptions())
        self._dispatcher.apply(statuses)

    def _source_gone(self, integration_id: str, message: str) -> None:
        self._reconciler.source_gone(integration_id, message)

    @asynccontextmanager
    async def _without_lane(self, integration_id: str) -> AsyncIterator[None]:
        await self._receiver.pass_batch()
        async with self._dispatcher.without_lane(integration_id):
            yield

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(work, name=name)

    @property
    def books(self) -> Books:
        """The live books. Read, never write."""
        return self._spool.books

    @property
    def connected(self) -> bool:
        """Whether the intake's stream is open."""
        return self._intake.health().connected

    @property
    def statuses(self) -> tuple[IntegrationStatus, ...]:
        """Every integration with what it is doing."""
        return self._statuses

    async def snapshot(self) -> Snapshot:
        """The whole daemon at this moment. The books are read after the last await: they balance."""
        await self._spool_watch.look()
        return Snapshot(
            started_at=self._started_at,
            draining=self._draining,
            intake=self._intake.name,
            intake_health=self._intake.health(),
            receiver_trouble=self._receiver.trouble,
            books=self._spool.books,
            spool=self._spool_watch.last,
            spool_answering=self._spool_watch.answering,
            integrations=self._statuses,
            lanes=self._dispatcher.views(),
            regions={region: gate.view() for region, gate in self._gates.items()},
            sources=self._reconciler.views(),
            reload=self._reloader.view(),
        )

    # Running

    def stop(self) -> None:
        """Ask the daemon to drain and end. Safe to call twice."""
        self._stop.set()

    async def run(self) -> None:
        """Run until `stop`, or until the intake's stream has ended and everything that can be sent is sent.

        Raises:
            BaseExceptionGroup: a part failed for good; the others were stopped.
        """
        try:
            async with self._tasks:
                serving = self._spawn(self.http.run(), "http")
                await self._reloader.load_once()
                background = [
                    self._spawn(self._reloader.run(), "reloader"),
                    self._spawn(self._reconciler.run(), "reconciler"),
                    self._spawn(self._dispatcher.run(), "housekeeping"),
                    self._spawn(self._intake.run(), f"intake:{self._intake.name}"),
                ]
                receiving = self._spawn(self._receiver.run(), "receiver")
                log.info("started", intake=self._intake.name, sink=self._sink.name, http_port=self.http.port)
                await self._until_stopped(receiving)
                await self._drain(receiving)
                for task in [*background, serving]:
                    task.cancel()
        finally:
            await self._close()
        log.info("stopped")

    async def _close(self) -> None:
        """Close the parts, the spool last. A disk that hangs holds nobody up: what matters is on it already."""
        try:
            async with asyncio.timeout(self._close_seconds), AsyncExitStack() as closing:
                closing.push_async_callback(self._spool.close)
                closing.push_async_callback(self._around.close)
                closing.push_async_callback(self._sink.close)
                closing.push_async_callback(self._intake.close)
        except TimeoutError:
            self.hangs = True
            log.warning("close_cut_short", seconds=self._close_seconds)

    async def _until_stopped(self, receiving: asyncio.Task[None]) -> None:
        """Return on `stop`, or when the stream has ended and the lanes have nothing more to send."""
        stopping = self._spawn(_wait_for(self._stop), "stop-signal")
        await asyncio.wait([stopping, receiving], return_when=asyncio.FIRST_COMPLETED)
        while not (self._stop.is_set() or self._dispatcher.finished):
            await asyncio.wait([stopping], timeout=0.05)
        stopping.cancel()

    async def _drain(self, receiving: asyncio.Task[None]) -> None:
        """Finish the batch at hand and what is in memory, as far as the time allows. The rest is in the spool."""
        self._draining = True
        log.info("stopping", pending={name: books.pending for name, books in self._spool.books.lanes.items()})
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds - self._close_seconds):
                await self._end_receiving(receiving)
                await self._dispatcher.drain()
        except TimeoutError:
            log.warning("drain_cut_short", seconds=self._settings.shutdown_seconds)
            self._dispatcher.abandon()
            receiving.cancel()

    async def _end_receiving(self, receiving: asyncio.Task[None]) -> None:
        """Leave the rest to a stream that keeps it. From any other take in all that has been read of it."""
        if self._intake.acknowledges:
            self._receiver.stop()
            await asyncio.wait([receiving])
            await self._intake.close()
        else:
            await self._intake.close()
            await asyncio.wait([receiving])


def _secret(value: Any) -> str | None:
    return value.get_secret_value() if value is not None else None


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()
