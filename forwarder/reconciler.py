"""Loop 4: integrations -> partner event sources in AWS.

`desire` says what the files want and decides at once, without awaiting, what each integration is from now on; the loop
carries out what follows from it in AWS, one action at a time for each integration and all integrations side by side.
What is decided stands in the record before it is done, and every action may be repeated: a crash loses nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import structlog
from msgspec.structs import replace

from forwarder.care import PAUSES, Care
from forwarder.clock import Clock
from forwarder.errors import ForwarderError, SpoolError
from forwarder.model import Destination, Integration, IntegrationStatus, IntendedState, Reason, State
from forwarder.ops.snapshot import SourceView
from forwarder.partner_sources import SourceError, Sources
from forwarder.record import LifecycleRecord, RecordError
from forwarder.rules.lifecycle import (
    Action,
    Bury,
    CreateSource,
    DeleteSource,
    Forget,
    Plan,
    Recorded,
    Standing,
    Wanted,
    activation_requested,
    completed,
    deletion_requested,
    pending_noted,
    plan,
    without_source,
)
from forwarder.rules.lifecycle_status import Trouble, status, without_place
from forwarder.rules.retry import backoff
from forwarder.spool.base import END

_log = structlog.get_logger(__name__)


class Lanes(Protocol):
    """What the reconciler needs of the spool; what is awaited raises SpoolError."""

    def placeless(self, integration_ids: Iterable[str]) -> Sequence[str]:
        """Those of these integrations that would find no lane, were each to get one in turn."""
        ...

    async def bury(self, integration_id: str, reason: Reason, message: str, *, up_to: int = END) -> int:
        """Turn what is pending of the integration, up to that place in the log, into dead letters."""
        ...

    async def forget(self, integration_id: str) -> None:
        """Drop the lane of an integration that is gone."""
        ...


class Reconciler:
    """Keeps AWS, and what the lanes may do, in line with the integrations.

    `on_status` is called without awaiting, with all integrations, whenever anything about one has changed; before it
    returns the lanes must have taken note. `matched_to` says how far the log reaches with all that has been matched
    when it is called, as soon as that is in the log. `without_lane` holds an integration's lane back, its calls
    finished, for as long as its context lasts. Constructing reads the record.

    Raises:
        RecordError: the record cannot be read.
    """

    def __init__(
        self,
        *,
        sources: Sources,
        spool: Lanes,
        record: LifecycleRecord,
        clock: Clock,
        random: Callable[[], float],
        destination_of: Callable[[Integration], Destination],
        on_status: Callable[[tuple[IntegrationStatus, ...]], None],
        matched_to: Callable[[], asyncio.Future[int]],
        without_lane: Callable[[str], AbstractAsyncContextManager[None]],
        poll_seconds: float = 60.0,
        reactivate_on_identity_change: bool = False,
        hold_while_pending: bool = False,
    ) -> None:
        self._sources = sources
        self._spool = spool
        self._record = record
        self._clock = clock
        self._random = random
        self._destination_of = destination_of
        self._on_status = on_status
        self._matched_to = matched_to
        self._without_lane = without_lane
        self._poll_seconds = poll_seconds
        self._reactivate = reactivate_on_identity_change
        self._hold = hold_while_pending
        self._desired: dict[str, Wanted] = {}
        self._records = record.load()
        self._save_failures = 0
        self._save_at = 0.0
        self._record_trouble: Trouble | None = None
        self._plans: dict[str, Plan] = {}
        self._cares = {
            integration_id: Care(uncertain=recorded.source is not None and recorded.created_at is None)
            for integration_id, recorded in self._records.items()
        }
        self._published: tuple[IntegrationStatus, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None
        self._wake = asyncio.Event()

    def remembered(self) -> dict[str, Integration]:
        """The integrations that were in force when the record was last written, each in its last good version."""
        return {
            integration_id: recorded.integration
            for integration_id, recorded in self._records.items()
            if recorded.has_file
        }

    def desire(self, integrations: Mapping[str, Integration]) -> None:
        """Take the integrations in force. On return the new statuses are published; the record and AWS follow.

        One that is in the record and not among these has lost its file: it is paused.
        """
        self._desired = {
            integration_id: Wanted(integration, self._destination_of(integration))
            for integration_id, integration in integrations.items()
        }
        self._replan()

    async def request_activation(self, integration_id: str) -> None:
        """Activate an integration whose file says ENABLED, by name: after a change of identity, or when its source is
        gone. Returns once the request is durable.

        Raises:
            ForwarderError: there is nothing to activate, or the request could not be written.
        """
        recorded = self._known(integration_id)
        wanted = self._desired.get(integration_id)
        if wanted is None:
            raise ForwarderError(f"{integration_id}.env is gone or cannot be used; put the file back first")
        if recorded.standing is Standing.DELETING:
            raise ForwarderError(f"the integration {integration_id} is being deleted")
        if wanted.integration.intended_state is not IntendedState.ENABLED:
            raise ForwarderError(f"INTENDED_STATE of the integration {integration_id} is DISABLED; set it to ENABLED")
        await self._request(integration_id, activation_requested(recorded))

    async def request_deletion(self, integration_id: str) -> None:
        """Delete an integration by name, with its source in AWS. Returns once the request is durable; the file may be
        removed then, and only then.

        Raises:
            ForwarderError: there is no such integration, or the request could not be written.
        """
        await self._request(integration_id, deletion_requested(self._known(integration_id)))

    def source_gone(self, integration_id: str, message: str) -> None:
        """A lane was told that AWS does not know the source (NotAuthorizedForSourceException). It stops until a look at
        AWS has shown the source."""
        care = self._cares.get(integration_id)
        if care is None or care.observed.refused is not None:
            return
        care.refused(message, self._clock.monotonic(), self._poll_seconds)
        self._publish()
        self._wake.set()

    def views(self) -> dict[str, SourceView]:
        """What AWS said of each source last."""
        return {
            integration_id: SourceView(care.observed.source_state, care.observed.expires_at)
            for integration_id, care in self._cares.items()
        }

    def deleting(self) -> frozenset[str]:
        """The integrations that are being deleted."""
        return frozenset(
            integration_id
            for integration_id, recorded in self._records.items()
            if recorded.standing is Standing.DELETING
        )

    async def run(self) -> None:
        """Keep AWS in line until cancelled. What is under way then is taken up again at the next start."""
        try:
            while True:
                await self.step()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def step(self) -> None:
        """Write the record, start what is due, and wait until there may be more to do."""
        self._wake.clear()
        if self._defect is not None:
            raise self._defect
        if await self._all_is_recorded():
            self._start_what_is_due()
        await self._wait()

    def _known(self, integration_id: str) -> Recorded:
        planned = self._plans.get(integration_id)  # not the record: before the files are read nothing may be asked for
        if planned is None:
            raise ForwarderError(f"there is no integration {integration_id}")
        return planned.recorded

    async def _request(self, integration_id: str, recorded: Recorded) -> None:
        self._records = {**self._records, integration_id: recorded}
        self._cares[integration_id].hurry()
        self._replan()
        await self._record.save(self._records)

    def _replan(self) -> None:
        records = {
            integration_id: without_source(recorded)
            if self._care(integration_id).absent and recorded.created_at is None
            else recorded
            for integration_id, recorded in self._records.items()
        }
        busy = {integration_id for integration_id, care in self._cares.items() if care.task and not care.looking}
        self._plans = plan(self._desired, records, busy, reactivate=self._reactivate)
        self._records = {integration_id: planned.recorded for integration_id, planned in self._plans.items()}
        self._cares = {integration_id: self._care(integration_id) for integration_id in self._plans}
        for integration_id, care in self._cares.items():
            care.face(self._plans[integration_id].action)
        self._publish()
        self._note_what_is_replaced()
        self._wake.set()

    def _note_what_is_replaced(self) -> None:
        """Have noted where in the log that ends which was matched up to this moment, before a source was replaced."""
        for integration_id, recorded in self._records.items():
            care = self._cares[integration_id]
            if recorded.replaces and recorded.pending_to is None and not care.noting:
                care.noting = True
                self._matched_to().add_done_callback(partial(self._note, integration_id, care))

    def _note(self, integration_id: str, care: Care, matched_to: asyncio.Future[int]) -> None:
        care.noting = False
        if integration_id in self._records and not matched_to.cancelled():
            recorded = pending_noted(self._records[integration_id], matched_to.result())
            self._records = {**self._records, integration_id: recorded}
            self._replan()

    def _care(self, integration_id: str) -> Care:
        return self._cares.get(integration_id) or Care()

    def _publish(self) -> None:
        statuses = self._statuses()
        if statuses == self._published:
            return
        before = {known.integration.id: known for known in self._published}
        self._published = statuses
        for now in statuses:
            observed = self._cares[now.integration.id].observed
            _log_change(before.get(now.integration.id), now, warn=observed.source_state == "PENDING")
        self._on_status(statuses)

    def _statuses(self) -> tuple[IntegrationStatus, ...]:
        statuses = [self._status(integration_id, planned) for integration_id, planned in self._plans.items()]
        placeless = self._spool.placeless([each.integration.id for each in statuses if each.takes_events])
        return tuple(without_place(each) if each.integration.id in placeless else each for each in statuses)

    def _status(self, integration_id: str, planned: Plan) -> IntegrationStatus:
        observed = self._cares[integration_id].observed
        if self._record_trouble is not None:
            observed = replace(observed, trouble=self._record_trouble)
        return status(
            planned,
            observed,
            self._destination_of(planned.recorded.integration),
            has_file=integration_id in self._desired,
            hold_while_pending=self._hold,
        )

    async def _all_is_recorded(self) -> bool:
        """Write the record if it is due. Whether all that was decided is on disk, so that it may be acted upon."""
        if self._save_at > self._clock.monotonic():
            return False
        try:
            await self._record.save(self._records)
        except RecordError as error:
            self._save_failures += 1
            pause = backoff(self._save_failures, PAUSES, jitter=self._random(), at_least=PAUSES.base)
            self._save_at = self._clock.monotonic() + pause
            self._record_trouble = Trouble(str(error), waiting_helps=False)
        else:
            self._save_failures, self._save_at, self._record_trouble = 0, 0.0, None
        self._publish()
        return self._record.holds(self._records)

    def _start_what_is_due(self) -> None:
        now = self._clock.monotonic()
        for integration_id, care in self._cares.items():
            if care.task is not None:
                continue
            watched = self._watched(integration_id)
            if care.action is not None and care.act_at <= now:
                care.looking = care.absent = False
                care.task = self._start(self._act(integration_id, care, care.action))
            elif watched is not None and care.look_at <= now:
                care.looking = True
                care.task = self._start(self._look(care, watched))

    def _watched(self, integration_id: str) -> Destination | None:
        """The source whose state matters now: that of an integration that is active and has nothing to do."""
        recorded = self._records[integration_id]
        return recorded.source if integration_id in self._desired and recorded.established else None

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for care in self._cares.values():
            if care.task is task:
                care.task = None
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()
        self._wake.set()

    async def _act(self, integration_id: str, care: Care, action: Action) -> None:
        try:
            match action:
                case CreateSource(destination):
                    await self._sources.create(destination)
                case DeleteSource(destination):
                    await self._sources.delete(destination)
                case Bury(reason, message, up_to):
                    async with self._without_lane(integration_id):
                        last = END if up_to is None else up_to
                        await self._spool.bury(integration_id, reason, message, up_to=last)
                case Forget():
                    async with self._without_lane(integration_id):
                        # What was matched just before, or redriven since, must not be left without a lane.
                        await self._spool.bury(
                            integration_id, Reason.INTEGRATION_DELETED, "the integration was deleted"
                        )
                        await self._spool.forget(integration_id)
                        return self._done(integration_id, care, action)  # while held back, or its lane would come back
        except (SourceError, SpoolError) as error:
            return self._failed(care, action, error)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this integration's trouble alone)
            _log.exception("integration_action_failed", integration=integration_id, action=type(action).__name__)
            return self._failed(care, action, _unforeseen(error))
        return self._done(integration_id, care, action)

    def _failed(self, care: Care, action: Action, error: SourceError | SpoolError) -> None:
        care.failed(action, error, self._clock.monotonic(), self._random())
        care.task = None
        self._replan()

    def _done(self, integration_id: str, care: Care, action: Action) -> None:
        care.succeeded()
        care.task = None
        after = completed(self._records[integration_id], action, self._clock.now())
        others = {other: recorded for other, recorded in self._records.items() if other != integration_id}
        self._records = others if after is None else {**others, integration_id: after}
        self._replan()

    async def _look(self, care: Care, destination: Destination) -> None:
        refused_before = care.observed.refused is not None
        try:
            view = await self._sources.look(destination)
        except SourceError as error:
            care.saw_nothing(error, self._clock.monotonic(), self._random(), self._poll_seconds)
        except Exception as error:  # noqa: BLE001  (as above)
            _log.exception("integration_look_failed", event_source=destination.event_source_name)
            care.saw_nothing(_unforeseen(error), self._clock.monotonic(), self._random(), self._poll_seconds)
        else:
            care.saw(view, self._clock.monotonic(), self._poll_seconds, refused_before=refused_before)
        care.task = None
        self._publish()

    async def _wait(self) -> None:
        """Until somebody wakes the loop or the next thing is due."""
        waits: list[asyncio.Future[Any]] = [asyncio.create_task(self._wake.wait())]
        due = min(self._due(), default=None)
        if due is not None:
            pause = max(0.0, due - self._clock.monotonic())
            waits.append(asyncio.ensure_future(self._clock.sleep(pause)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _due(self) -> Iterator[float]:
        if not self._record.holds(self._records):
            yield self._save_at
            return
        for integration_id, care in self._cares.items():
            if care.task is None and care.action is not None:
                yield care.act_at
            elif care.task is None and self._watched(integration_id) is not None:
                yield care.look_at


def _unforeseen(error: Exception) -> SourceError:
    """An error that nobody has a better word for. What was done before it is anybody's guess."""
    return SourceError(f"{type(error).__name__}: {error}; the log says where", nothing_happened=False)


def _log_change(before: IntegrationStatus | None, now: IntegrationStatus, *, warn: bool) -> None:
    """One line for each change of state or reason."""
    if before is not None and (before.state, before.reason) == (now.state, now.reason):
        return
    write = _log.error if now.state is State.ERROR else _log.warning if warn else _log.info
    write(
        "integration_state",
        integration=now.integration.id,
        state=now.state.value,
        was=before.state.value if before else None,
        reason=now.reason,
        event_source=now.destination.event_source_name,
        account=now.destination.account_id,
        region=now.destination.region,
    )
