"""One run of the whole daemon in a simulated world, decided by its seed: chaos, then calm in which all must end."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import structlog

from forwarder.app import Daemon
from forwarder.errors import ForwarderError
from forwarder.intake.base import Message
from forwarder.model import IntegrationStatus, State
from forwarder.partner_sources import PartnerSources
from forwarder.settings import EnvSettings, Settings
from forwarder.spool.base import DeadLetterFilter, Record, Tally
from forwarder.surroundings import Configured, Surroundings
from tests.simulation.admin import REGIONS, Admin
from tests.simulation.aws import Aws, SimulatedSession, SimulatedSink, Weather, delete_as_customer
from tests.simulation.broker import Broker, Published, ScriptedIntake
from tests.simulation.disk import Disk
from tests.simulation.loop import CrashError, SimulatedClock, SlowDisk, Universe, VirtualLoop
from tests.simulation.oracle import Limits, Oracle, Trace, ViolationError

TOPICS = (
    "v2.users.u1.presence",
    "v2.users.u2.presence",
    "v2.users.u1.routingStatus",
    "v2.routing.queues.q1.users",
    "v2.custom.c1.thing",
    "v2.custom.c1.other.thing",
    "v2.elsewhere.e1",
)
CALM_SECONDS = 2_400.0
"""In calm everything must have ended within this: entries wait for up to 300 s, by a clock that was set back by 600."""


class Plan(msgspec.Struct, frozen=True):
    """What the seed decides once for the whole run."""

    shuffled: bool
    acknowledges: bool
    chaos_seconds: float
    quiet_traffic_seconds: float
    messages: int
    retention: float
    max_bytes: int
    max_entries: int
    spool_bytes: int
    ceiling: int
    rate: float
    burst: int
    reactivate: bool
    crashes: bool
    clock_jumps: bool
    pace: float
    chaos: bool = True

    @classmethod
    def draw(cls, chance: random.Random) -> "Plan":
        """Draw one."""
        return cls(
            shuffled=chance.random() < 0.5,
            acknowledges=chance.random() < 0.85,
            chaos_seconds=chance.uniform(10, 150),
            quiet_traffic_seconds=chance.choice((0, 0, 0, 120)),
            messages=chance.randint(20, 600),
            retention=chance.choice((300.0, 345_600.0, 345_600.0)),
            max_bytes=chance.choice((1024, 4096, 262_144)),
            max_entries=chance.choice((1, 3, 20, 20)),
            spool_bytes=chance.choice((1 << 20, 1 << 30)),
            ceiling=chance.choice((1, 2, 8, 64)),
            rate=chance.choice((100.0, 1400.0)),
            burst=chance.choice((100, 3600)),
            reactivate=chance.random() < 0.3,
            crashes=chance.random() < 0.6,
            clock_jumps=chance.random() < 0.3,
            pace=chance.choice((0.0003, 0.001, 0.01)),
        )


class Simulation:
    """See above. `run` raises ViolationError, SpinError, DeadlockError or what killed the daemon."""

    def __init__(self, seed: int, directory: Path, plan: Plan | None = None) -> None:
        universe = self.universe = Universe(seed)
        plan = self.plan = plan or Plan.draw(universe.chance)
        self.trace = Trace(universe, directory)
        self.trace.add(plan)
        self.admin = Admin(universe, directory / "integrations", self.trace.add)
        self.disk = Disk(universe, directory / "state")
        self.broker = Broker(universe, acknowledges=plan.acknowledges)
        self.aws = Aws(universe)
        limits = Limits(
            entries=plan.max_entries, size=plan.max_bytes, ceiling=plan.ceiling, rate=plan.rate, burst=plan.burst
        )
        self.oracle = Oracle(universe, self.disk, self.broker, self.trace, limits=limits, retention=plan.retention)
        self.lives = 0
        self.calm_since: float | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._done = False
        self._published = 0
        self._stopped_cleanly = False
        self._cut_short = False
        self._loop: VirtualLoop | None = None
        self._daemon: Daemon | None = None
        self._configured = _configure(plan, directory)

    # The run

    def run(self) -> None:
        """From the first life to the last check."""
        with _logs_to(self._log):
            for _ in range(self.universe.chance.randint(1, 4)):
                self.admin.act()
            self._schedule()
            while not self._done:
                self._live()
                self._check()
                if not self._done:
                    self.universe.pass_until(self.universe.now + self.universe.chance.uniform(0, 5))
            self._check_end()

    def _live(self) -> None:
        """One life of the daemon, to its stop or crash."""
        universe = self.universe
        self.lives += 1
        self._stopped_cleanly = self._cut_short = False
        self.oracle.disturb()
        self.trace.add("life", self.lives)
        if self.plan.crashes and self.calm_since is None and universe.chance.random() < 0.8:
            universe.crash_at = universe.steps + int(universe.chance.expovariate(1 / 3_000))
        if self.plan.chaos and self.calm_since is None and universe.chance.random() < 0.3:
            self._fault_disk()  # what is done only at the start must bear it, too
        loop = self._loop = VirtualLoop(universe, shuffled=self.plan.shuffled, after_step=self._check)
        loop.set_exception_handler(lambda _, context: self.oracle.violate(f"{context}"))
        power_cut = False
        try:
            main = loop.create_task(self._run_daemon())  # kept: what is collected ends in its own ways
            loop.run_until_complete(main)
            self._stopped_cleanly = True
        except CrashError:
            power_cut = universe.chance.random() < 0.5
            self.trace.add("crash, power cut" if power_cut else "crash")
        finally:
            self._bury(loop, power_cut=power_cut)
        clean = self._stopped_cleanly and not self._cut_short
        self.oracle.life_ended(self.disk.read(), clean=clean, power_cut=power_cut)

    def _bury(self, loop: VirtualLoop, *, power_cut: bool) -> None:
        """Nothing is left of the process but its files; the broker and AWS notice."""
        self.universe.crash_at = None
        self._loop, daemon, self._daemon = None, self._daemon, None
        self.broker.wake = _nothing
        self.broker.disconnect()
        self.broker.connect()
        loop.abandon()
        if daemon is not None and not self._stopped_cleanly:
            self.disk.crash(power_cut=power_cut)
            daemon._spool._lock.release()

    async def _run_daemon(self) -> None:
        universe, oracle, plan = self.universe, self.oracle, self.plan
        sink = SimulatedSink(
            self.aws,
            universe,
            plan.max_bytes,
            calling=oracle.calling,
            accepted=oracle.accepted,
            ended=oracle.ended,
        )
        session: Any = SimulatedSession(self.aws, universe, creating=oracle.creating, deleting=oracle.deleting)
        around = Surroundings(
            intake=ScriptedIntake(self.broker, oracle.handed, oracle.acknowledging),
            sink=sink,
            sources=PartnerSources(session),
            close=_nothing_to_close,
            clock=SimulatedClock(universe),
            random=universe.chance.random,
            executor=SlowDisk(universe, plan.pace),
            file_events=False,
        )
        with self.disk.beneath():
            daemon = self._daemon = Daemon(self._configured, around)
        daemon.http = _NoHttp()  # type: ignore[assignment]  # no sockets here
        self._observe(daemon)
        await daemon.run()

    def _observe(self, daemon: Daemon) -> None:
        """Look over the shoulders of receiver and reconciler."""
        spool, oracle = daemon._spool, self.oracle
        append, take_statuses = spool.append, daemon._take_statuses

        async def observed_append(records: Sequence[Record], tally: Tally) -> int:
            oracle.appending(records, tally)
            return await append(records, tally)

        def observed_statuses(statuses: tuple[IntegrationStatus, ...]) -> None:
            take_statuses(statuses)
            oracle.published(statuses)

        spool.append = observed_append
        daemon._reconciler._on_status = observed_statuses

    def _check(self) -> None:
        """After every step."""
        self.oracle.latest_wall = max(self.oracle.latest_wall, self.universe.wall())
        if self.oracle.violation is not None:
            raise ViolationError(self.oracle.violation)

    def _check_end(self) -> None:
        truth = self.disk.read()
        self.oracle.check_books(truth)
        self.oracle.check_copies(truth)
        self.oracle.must(not truth.pending, f"pending at the end: {truth.pending}")
        self.trace.add("end", sorted(truth.counters.items()))
        self._check()

    def _log(self, _logger: object, level: str, event: dict[str, Any]) -> Any:
        self._cut_short |= event["event"] == "drain_cut_short"
        shown = {key: value for key, value in event.items() if key not in ("event", "exc_info", "changes")}
        self.trace.add("log", level, event["event"], shown)
        bad = ("sink_failed", "acknowledge_failed")
        if event["event"] in bad:
            self.oracle.violate(f"{event}")
        raise structlog.DropEvent

    # The world

    def _schedule(self) -> None:
        chance, end = self.universe.chance, self.plan.chaos_seconds
        for _ in range(max(1, self.plan.messages // 10)):
            self.universe.at(chance.uniform(0, end), lambda: self._publish(chance.randint(1, 20)))
        for event, mean in self._chaos() if self.plan.chaos else ():
            at = chance.expovariate(1 / mean)
            while at < end:
                self.universe.at(at, event)
                at += chance.expovariate(1 / mean)
        for number in range(int(self.plan.quiet_traffic_seconds * 2)):
            self.universe.at(end + number / 2, lambda: self._publish(chance.randint(1, 3)))
        self.universe.at(end - 0.005, lambda: self._publish(2))  # received just before the clock is set right
        self.universe.at(end, self._calm)
        self.universe.at(5.0, self._watch)

    def _chaos(self) -> list[tuple[Callable[[], None], float]]:
        """What may happen, with the mean seconds between."""
        events: list[tuple[Callable[[], None], float]] = [
            (self._administer, 12),
            (self._change_weather, 6),
            (self._disconnect, 25),
            (self._fault_disk, 30),
            (self._stop, 70),
            (self._fault_control_plane, 25),
            (self._lose_source, 90),
            (self._redrive, 40),
        ]
        return [*events, (self._jump, 40)] if self.plan.clock_jumps else events

    def _publish(self, number: int) -> None:
        self.broker.publish([self._message() for _ in range(number)])

    def _message(self) -> Published:
        chance = self.universe.chance
        self._published += 1
        number = self._published
        if chance.random() < 0.03:
            return Published(number, None, "", Message("v2.users.u1.presence", b"{not json %d" % number))
        topic = chance.choice(TOPICS)
        filler = chance.choice((10, 100, 100, 400, 900, 2000))
        word = b"poison" if chance.random() < 0.01 else b"x"
        body = b'{"topicName":"%b","eventBody":{"n":%d,"f":"%b"}}' % (topic.encode(), number, word * filler)
        event_id = blake2b(topic.encode() + b"\0" + body, digest_size=16).hexdigest()
        return Published(number, topic, event_id, Message(topic, body))

    def _administer(self) -> None:
        if (name := self.admin.act()) is not None:
            self._ask_deletion(name)
        elif self.universe.chance.random() < 0.3 and self.admin.wanted:
            self._ask_activation(self.universe.chance.choice(sorted(self.admin.wanted)))

    def _redrive(self) -> None:
        async def redrive(daemon: Daemon) -> None:
            try:
                redriven = await daemon._spool.redrive(DeadLetterFilter(integration_id=name))
                self.trace.add("admin redrives", name, redriven)
            finally:
                daemon._dispatcher.look(name)  # one that fails halfway has put some back

        known = [each for each in sorted(self.oracle.statuses) if each not in self.admin.deleted]
        if known:
            name = self.universe.chance.choice(known)
            self._ask(redrive)

    def _ask_deletion(self, name: str) -> None:
        async def ask(daemon: Daemon) -> None:
            await daemon._reconciler.request_deletion(name)
            self.admin.path(name).unlink(missing_ok=True)

        self._ask(ask)

    def _ask_activation(self, name: str) -> None:
        self._ask(lambda daemon: daemon._reconciler.request_activation(name))

    def _ask(self, ask: Callable[[Daemon], Coroutine[Any, Any, None]]) -> None:
        async def asking(daemon: Daemon) -> None:
            with contextlib.suppress(ForwarderError):
                await ask(daemon)

        if self._loop is not None and self._daemon is not None:
            self._requests.add(task := self._loop.create_task(asking(self._daemon)))
            task.add_done_callback(self._requests.discard)

    def _change_weather(self) -> None:
        chance = self.universe.chance
        sources = [status.destination.event_source_name for status in self.oracle.statuses.values()]
        where = chance.choice([*REGIONS, *sources])
        self._set_weather(where, chance.choice(list(Weather)))
        self.universe.later(chance.expovariate(1 / 10), lambda: self._set_weather(where, Weather.CLEAR))

    def _set_weather(self, where: str, weather: Weather) -> None:
        self.trace.add("weather", where, weather)
        self.aws.weather.pop(where, None)
        if weather is not Weather.CLEAR:
            self.aws.weather[where] = weather
        for name, status in self.oracle.statuses.items():
            if where in (status.destination.region, status.destination.event_source_name):
                self.oracle.disturb(name)

    def _disconnect(self) -> None:
        self.trace.add("disconnect")
        self.broker.disconnect()
        self.universe.later(self.universe.chance.uniform(0.1, 5), self.broker.connect)

    def _fault_disk(self) -> None:
        self.disk.full, self.disk.broken = self.universe.chance.choice(((True, False), (False, True)))
        self.trace.add("disk full", self.disk.full, "broken", self.disk.broken)
        self.oracle.disk_trouble()
        self.universe.later(self.universe.chance.expovariate(1 / 4), self._mend_disk)

    def _mend_disk(self) -> None:
        self.disk.full = self.disk.broken = False
        self.oracle.disk_trouble()
        self.trace.add("disk mended")

    def _stop(self) -> None:
        if self._daemon is not None:
            self.trace.add("stop")
            self._daemon.stop()

    def _fault_control_plane(self) -> None:
        self.aws.control_fails = True
        self.universe.later(self.universe.chance.expovariate(1 / 8), self._mend_control_plane)

    def _mend_control_plane(self) -> None:
        self.aws.control_fails = False

    def _lose_source(self) -> None:
        known = sorted(self.oracle.statuses.items())
        if known:
            name, status = self.universe.chance.choice(known)
            destination = status.destination
            self.trace.add("customer deletes", destination.event_source_name)
            delete_as_customer(self.aws, destination.region, destination.event_source_name, self.universe.wall())
            self.oracle.disturb(name)

    def _jump(self) -> None:
        self.universe.wall_offset = self.universe.chance.uniform(-600, 600)
        self.trace.add("clock set to", self.universe.wall_offset)
        self.oracle.disturb()

    # Watching, and the calm at the end

    def _watch(self) -> None:
        self.universe.later(5.0, self._watch)
        if self._daemon is None or self.disk.raw is None:
            return
        truth = self.disk.read()
        self.oracle.check_books(truth)
        names = set(self.oracle.statuses)
        done = {
            name: tuple(truth.booked(what, name) for what in ("delivered", "expired", "dead_lettered", "retried"))
            for name in names
        }
        self.oracle.watch_progress(done, {name for _, name in truth.in_log})
        for name, lane in self._daemon.books.lanes.items():
            self.oracle.must(lane.pending >= 0, f"{name} has {lane.pending} pending")
        if self.calm_since is not None:
            self._tend(truth.pending.total())

    def _calm(self) -> None:
        """The faults end. The admin puts everything right."""
        self.trace.add("calm")
        self.calm_since = self.universe.now
        self.universe.crash_at = None
        for where in list(self.aws.weather):
            self._set_weather(where, Weather.CLEAR)
        self._mend_disk()
        self._mend_control_plane()
        self.broker.connect()
        if self.universe.wall_offset:
            self.universe.wall_offset = 0.0
            self.oracle.disturb()
        self.admin.mend()

    def _tend(self, pending: int) -> None:
        """Ask for what needs asking, and end when all is done; something is wrong where that takes too long."""
        calm = self.universe.now - (self.calm_since or 0.0)
        for name, status in self.oracle.statuses.items():
            if name in self.admin.deleted:
                self._ask_deletion(name)
            elif status.state in (State.INACTIVE, State.ERROR) and calm > 20:
                self._ask_activation(name)
        if self._daemon is not None and not self._daemon._spool.has_room and not pending:
            self._ask(self._purge)
        settled = all(status.state is State.ACTIVE for status in self.oracle.statuses.values())
        if calm > self.plan.quiet_traffic_seconds + 20 and settled and self.broker.idle and not pending:
            in_flight = self.oracle.in_flight.total() + sum(g.view().in_flight for g in self._gates())
            self.oracle.must(not in_flight, f"{in_flight} calls are in flight when all is done")
            self._done = True
            self._stop()
        elif calm > CALM_SECONDS:
            states = {name: (s.state, s.reason) for name, s in self.oracle.statuses.items()}
            self.oracle.violate(
                f"not done after {calm:.0f} s of calm: {pending} pending, {len(self.broker.queue)} at the broker,"
                f" {len(self.broker.unacknowledged)} batches unacknowledged, {states}"
            )

    async def _purge(self, daemon: Daemon) -> None:
        """Dead letters take room in the spool; an admin has to make some."""
        self.trace.add("admin purges", await daemon._spool.purge(DeadLetterFilter()))

    def _gates(self) -> list[Any]:
        return [*self._daemon._gates.values()] if self._daemon else []


class _NoHttp:
    """In place of the HTTP server."""

    port = 0

    async def run(self) -> None:
        await asyncio.Event().wait()


def _configure(plan: Plan, directory: Path) -> Configured:
    settings = Settings(
        organization_id="org",
        state_dir=directory / "state",
        integrations_dir=directory / "integrations",
        reload_seconds=1,
        batch_max_bytes=plan.max_bytes,
        batch_max_entries=plan.max_entries,
        retention_hours=plan.retention / 3600,
        spool_max_bytes=plan.spool_bytes,
        max_concurrency=plan.ceiling,
        put_calls_per_second=plan.rate,
        put_calls_burst=plan.burst,
        reactivate_on_identity_change=plan.reactivate,
    )
    return Configured(settings, EnvSettings(), EnvSettings())


@contextlib.contextmanager
def _logs_to(processor: Any) -> Any:
    before = structlog.get_config()
    structlog.configure(processors=[processor], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _nothing() -> None:
    pass


async def _nothing_to_close() -> None:
    pass
