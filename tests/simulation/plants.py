"""Faults to plant in the daemon, each a mistake somebody could make: the simulation must find every one of them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from forwarder import calls as calls_module
from forwarder import lane as lane_module
from forwarder.app import Daemon
from forwarder.calls import Call, Outcome
from forwarder.dispatcher import Dispatcher
from forwarder.errors import SpoolError
from forwarder.lane import Lane
from forwarder.lane_queue import LaneQueue
from forwarder.model import Delivery, Destination, IntegrationStatus, Reason
from forwarder.receiver import Receiver
from forwarder.region_gate import RegionGate
from forwarder.rules import lifecycle
from forwarder.rules.routing_table import RoutingTable
from forwarder.spool.base import LanePosition, Page, Run, Settlement
from forwarder.spool.sqlite import SqliteSpool
from forwarder.spool.store import Store

PLANTS: dict[str, Callable[[], None]] = {}


def plant(sow: Callable[[], None]) -> Callable[[], None]:
    """Register a fault under its function's name."""
    PLANTS[sow.__name__] = sow
    return sow


def _put(where: Any, name: str, what: Any) -> None:
    setattr(where, name, what)


@plant
def acknowledge_before_commit() -> None:
    """The receiver acknowledges, and then appends."""
    step = Receiver.step

    async def hasty(self: Receiver) -> None:
        receive = self._intake.receive

        async def receive_and_acknowledge() -> Any:
            batch = await receive()
            await batch.acknowledge()
            return batch

        _put(self._intake, "receive", receive_and_acknowledge)
        try:
            await step(self)
        finally:
            _put(self._intake, "receive", receive)

    _put(Receiver, "step", hasty)


@plant
def append_without_sync() -> None:
    """Appended events are committed, but not synced."""
    submit = SqliteSpool._submit
    _put(SqliteSpool, "_submit", lambda self, write, *, durable=False: submit(self, write, durable=False))


@plant
def settle_before_the_answer() -> None:
    """A call's stretch is booked as delivered when the call is made."""
    send = Lane._send

    async def hasty(self: Lane, call: Call, destination: Destination) -> Outcome:
        await self._book(Settlement(self.id, call.stretch, delivered=len(call.send), unparked=call.parked))
        outcome = await send(self, call, destination)
        return Outcome(outcome.label, Settlement(self.id, None), outcome.accepted, trouble=outcome.trouble)

    _put(Lane, "_send", hasty)


@plant
def retry_the_whole_call() -> None:
    """Where one entry of a call fails, all of them are sent again."""
    judge = calls_module.judge

    def whole(integration_id: str, call: Call, results: Sequence[Any], now: float, jitter: Any) -> Outcome:
        outcome = judge(integration_id, call, results, now, jitter)
        if not outcome.settlement.parked:
            return outcome
        return Outcome("partial", Settlement(integration_id, None), again=(call,))

    _put(lane_module, "judge", whole)


@plant
def lose_the_parked() -> None:
    """Entries that failed alone are forgotten."""
    settle = Store.settle
    _put(Store, "settle", lambda self, settlement: settle(self, replace(settlement, parked=())))


@plant
def never_look_at_the_parked() -> None:
    """Entries that failed alone are kept, and never tried again."""
    _put(LaneQueue, "note_parked", lambda self, retry_at: None)


@plant
def offer_while_reading() -> None:
    """What is offered while the lane reads the log is taken, too."""

    def offer(self: LaneQueue, first: int, last: int, deliveries: Iterable[Delivery]) -> None:
        if self._read_to == first - 1 and self._has_room():
            self._add(deliveries, last)

    _put(LaneQueue, "offer", offer)


@plant
def open_twice() -> None:
    """A lane whose opening fails halfway keeps what it was offered meanwhile."""

    async def open_lane(self: LaneQueue) -> None:
        self._start = await self._spool.enlist(self._id)
        self._read_to = self._taken_to = self._start.position
        _, self._parked_at = await self._spool.read_parked(self._id, float("-inf"), 1)

    _put(LaneQueue, "open", open_lane)


@plant
def keep_the_gate() -> None:
    """A call that fails does not give its turn back."""
    release = RegionGate.release

    def keep(self: RegionGate, lane: str, started_at: float, failure: Reason | None) -> None:
        if failure is None:
            release(self, lane, started_at, failure)

    _put(RegionGate, "release", keep)


@plant
def pass_the_gate() -> None:
    """Nobody waits at the gate."""

    async def acquire(self: RegionGate, lane: str) -> None:
        self._in_flight[lane] += 1

    _put(RegionGate, "acquire", acquire)


@plant
def settle_too_long_a_stretch() -> None:
    """A call finishes one row more than it took."""
    finish = Store.finish
    _put(Store, "finish", lambda self, name, run: finish(self, name, (run[0], min(run[1] + 1, self.tail))))


@plant
def forget_the_gaps() -> None:
    """A lane that starts anew reads over what was finished beyond its position."""
    _put(LanePosition, "next_gap", lambda self, after: (max(after, self.position) + 1, (1 << 63) - 1))


@plant
def number_twice() -> None:
    """The numbers of a log that was trimmed are given again."""
    _put(
        Store,
        "_last_seq",
        lambda self: self.connection.execute("SELECT max(seq) FROM log").fetchone()[0] or 0,
    )


@plant
def trim_too_much() -> None:
    """The log is trimmed up to the foremost lane, not the hindmost."""
    _put(Store, "floor", lambda self: max((lane.position for lane in self.positions.values()), default=self.tail))


@plant
def unsubscribe_early() -> None:
    """Only what is sent already is subscribed to."""

    def take(self: Daemon, statuses: tuple[IntegrationStatus, ...]) -> None:
        real(self, statuses)
        sending = {each.integration.id: each.integration.topic_filters for each in statuses if each.sends}
        self._intake.subscribe(RoutingTable.compile(sending, self._catalogue).subscriptions())

    real = Daemon._take_statuses
    _put(Daemon, "_take_statuses", take)


@plant
def match_by_the_old_table() -> None:
    """The receiver keeps the table of the change before."""

    def take(self: Daemon, statuses: tuple[IntegrationStatus, ...]) -> None:
        old = self._receiver.table
        real(self, statuses)
        self._receiver.table = old

    real = Daemon._take_statuses
    _put(Daemon, "_take_statuses", take)


@plant
def do_not_wake() -> None:
    """A lane is not woken by what it is offered."""
    _put(Lane, "offer", lambda self, first, last, deliveries: self.queue.offer(first, last, deliveries))


@plant
def bury_beside_the_lane() -> None:
    """What is pending is buried while calls are still under way."""

    class _Beside:
        def __init__(self, *_: object) -> None: ...

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None: ...

    _put(Dispatcher, "without_lane", _Beside)


@plant
def create_before_burying() -> None:
    """After a change of identity what is pending goes to the new source."""
    real = lifecycle._next_of_activation
    _put(lifecycle, "_next_of_activation", lambda recorded, target: real(replace(recorded, pending_for=None), target))


@plant
def trust_a_claim() -> None:
    """A source that is claimed back is taken for existing."""
    real = lifecycle._claim

    def claim(integration_id: str, records: Any, have_files: Any, busy: Any) -> str | None:
        before = records[integration_id]
        owner = real(integration_id, records, have_files, busy)
        records[integration_id] = replace(records[integration_id], ensure=before.ensure)
        return owner

    _put(lifecycle, "_claim", claim)


@plant
def stop_the_lane_on_trouble() -> None:
    """A lane ends when the spool cannot be read."""
    read = SqliteSpool.read

    async def fail(self: SqliteSpool, integration_id: str, run: Run, limit: int) -> Page:
        try:
            return await read(self, integration_id, run, limit)
        except SpoolError:
            raise asyncio.CancelledError from None

    _put(SqliteSpool, "read", fail)


@plant
def book_before_the_commit() -> None:
    """A transaction that fails leaves the lanes' positions as if it had not."""
    commit = SqliteSpool._commit

    def hasty(self: SqliteSpool, group: list[Any]) -> Any:
        try:
            return commit(self, group)
        except BaseException:
            for job in group:
                _try(job, self._store)
            raise

    _put(SqliteSpool, "_commit", hasty)


def _try(job: Any, store: Store) -> None:
    """Do the job to the memory alone."""
    connection, store.connection = store.connection, _Nowhere()  # type: ignore[assignment]  # as much of one as is asked
    try:
        job.write(store)
    except NotImplementedError:
        pass
    finally:
        store.connection = connection


class _Nowhere:
    def execute(self, *_: object) -> Any:
        raise NotImplementedError

    executemany = execute


@plant
def ignore_the_size() -> None:
    """Calls are filled without regard to their bytes."""
    take = LaneQueue.take
    _put(
        LaneQueue,
        "take",
        lambda self, now, *, size, fault: take(self, now, size=lambda delivery: 0, fault=fault),
    )


@plant
def spin_on_a_clock_set_back() -> None:
    """What was received in the future lingers until then."""
    _put(Lane, "_next_send", _lingering(Lane._next_send))


def _lingering(real: Callable[[Lane], float]) -> Callable[[Lane], float]:
    def next_send(self: Lane) -> float:
        oldest, now = self.queue.oldest(), self._clock.now()
        if oldest is not None and oldest > now and not self.queue.full():
            return now + self._context.linger
        return real(self)

    return next_send
