"""The reconciler against a scripted AWS: every answer, lost answer, hang and crash, on a clock of its own."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace
from structlog.testing import capture_logs

from forwarder.errors import ForwarderError, SpoolError
from forwarder.model import Destination, Integration, IntegrationStatus, IntendedState, Reason, State
from forwarder.ops.snapshot import SourceView
from forwarder.partner_sources import NoSources, SourceError
from forwarder.reconciler import Reconciler
from forwarder.record import LifecycleRecord, RecordError
from forwarder.rules.lifecycle import Recorded, Standing
from forwarder.spool.base import END

ACCOUNTS = ("111111111111", "222222222222")
STRANGER = "999999999999"
ENABLED, DISABLED = IntendedState.ENABLED, IntendedState.DISABLED


def integration(
    integration_id: str = "crm", suffix: str = "crm", account: str = ACCOUNTS[0], state: IntendedState = ENABLED
) -> Integration:
    return Integration(integration_id, "name", "", account, "us-east-1", suffix, ("v2.#",), state)


def destination_of(of: Integration) -> Destination:
    return Destination(of.account_id, of.region, f"aws.partner/example.com/org/{of.event_source_suffix}")


class FakeClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, id(wake), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        await settle()
        end = self.time + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self.time, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
            await settle()
        self.time = end


async def settle() -> None:
    """Let everything that can run come to rest."""
    for _ in range(30):
        await asyncio.sleep(0)


REFUSED = SourceError("LimitExceededException: too many")
THROTTLED = SourceError("ThrottlingException: slow down", waiting_helps=True)
LOST = SourceError("the connection was reset", waiting_helps=True, nothing_happened=False)


class FakeAws:
    """Partner event sources by (region, name). `answers` are what the next calls end with; LOST ones have happened."""

    def __init__(self) -> None:
        self.sources: dict[tuple[str, str], tuple[str, str]] = {}
        self.calls: list[tuple[str, Destination]] = []
        self.answers: dict[str, list[SourceError]] = defaultdict(list)
        self.faults: dict[str, list[Exception]] = defaultdict(list)  # what nobody has foreseen
        self.always: SourceError | None = None
        self.hanging: set[str] = set()  # accounts
        self.before: Callable[[str, Destination], None] = lambda _operation, _destination: None

    async def _called(self, operation: str, destination: Destination) -> SourceError | None:
        self.before(operation, destination)
        self.calls.append((operation, destination))
        if destination.account_id in self.hanging:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        if self.faults[operation]:
            raise self.faults[operation].pop(0)
        error = self.answers[operation].pop(0) if self.answers[operation] else self.always
        if error is not None and error.nothing_happened:
            raise error
        return error

    async def create(self, destination: Destination) -> None:
        lost = await self._called("create", destination)
        key = (destination.region, destination.event_source_name)
        account, state = self.sources.get(key, (destination.account_id, "DELETED"))
        if account != destination.account_id and state != "DELETED":
            raise SourceError(f"already exists for AWS account {account}")
        if state == "DELETED":
            self.sources[key] = (destination.account_id, "ACTIVE")
        if lost:
            raise lost

    async def delete(self, destination: Destination) -> None:
        lost = await self._called("delete", destination)
        key = (destination.region, destination.event_source_name)
        if self.sources.get(key, ("",))[0] == destination.account_id:
            del self.sources[key]
        if lost:
            raise lost

    async def look(self, destination: Destination) -> SourceView:
        if error := await self._called("look", destination):
            raise error
        account, state = self.sources.get((destination.region, destination.event_source_name), ("", "DELETED"))
        return SourceView(state if account == destination.account_id else "DELETED", None)

    def set_state(self, of: Integration, state: str) -> None:
        destination = destination_of(of)
        self.sources[destination.region, destination.event_source_name] = (destination.account_id, state)

    def made(self) -> list[tuple[str, str]]:
        """The calls that change something, as (operation, source)."""
        return [(operation, where.event_source_name[-3:]) for operation, where in self.calls if operation != "look"]


class MemoryRecord(LifecycleRecord):
    """The record on a disk that can be full."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.disk: dict[str, Recorded] = {}
        self.full = False

    def load(self) -> dict[str, Recorded]:
        self._held = dict(self.disk)
        return dict(self.disk)

    async def save(self, integrations: Mapping[str, Recorded]) -> None:
        await asyncio.sleep(0)
        if self.full and not self.holds(integrations):
            raise RecordError("cannot write the lifecycle record: No space left on device")
        self.disk = dict(integrations)
        self._held = dict(integrations)


class FakeSpool:
    """Lanes whose pending events are named by the source that they were accepted for, and by their place in the log.

    `passing` is the batch that is on its way into the log.
    """

    def __init__(self) -> None:
        self.tail = 0
        self.passing: asyncio.Future[int] | None = None
        self.pending: dict[str, dict[int, Destination]] = defaultdict(dict)
        self.buried: list[tuple[str, Reason, int]] = []
        self.forgotten: list[str] = []
        self.held: set[str] = set()
        self.broken = False
        self.no_place_for: set[str] = set()
        self.misused = False  # a lane was running, or had something pending: to be asserted by the test

    def placeless(self, integration_ids: Iterable[str]) -> list[str]:
        return [each for each in integration_ids if each in self.no_place_for]

    def take(self, integration_id: str, destination: Destination, count: int = 1) -> None:
        for _ in range(count):
            self.tail += 1
            self.pending[integration_id][self.tail] = destination

    def matched_to(self) -> asyncio.Future[int]:
        if self.passing is not None:
            return self.passing
        known = asyncio.get_running_loop().create_future()
        known.set_result(self.tail)
        return known

    async def bury(self, integration_id: str, reason: Reason, message: str, *, up_to: int = END) -> int:
        self.misused |= integration_id not in self.held or not message
        if self.broken:
            raise SpoolError("disk I/O error")
        pending = self.pending[integration_id]
        left = {place: destination for place, destination in pending.items() if place > up_to}
        self.pending[integration_id] = left
        self.buried.append((integration_id, reason, len(pending) - len(left)))
        return len(pending) - len(left)

    async def forget(self, integration_id: str) -> None:
        self.misused |= integration_id not in self.held or bool(self.pending[integration_id])
        self.forgotten.append(integration_id)

    @asynccontextmanager
    async def without_lane(self, integration_id: str) -> AsyncIterator[None]:
        self.held.add(integration_id)
        await asyncio.sleep(0)
        yield
        self.held.discard(integration_id)


class World:
    """A reconciler in its surroundings, which outlive it."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.aws = FakeAws()
        self.record = MemoryRecord()
        self.spool = FakeSpool()
        self.options = options
        self.statuses: dict[str, IntegrationStatus] = {}
        self.reconciler: Reconciler
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.statuses = {}
        self.spool.held.clear()
        self.reconciler = Reconciler(
            sources=self.aws,
            spool=self.spool,
            record=self.record,
            clock=self.clock,
            random=lambda: 0.5,
            destination_of=destination_of,
            on_status=self.take,
            matched_to=self.spool.matched_to,
            without_lane=self.spool.without_lane,
            **self.options,
        )
        self.task = asyncio.get_running_loop().create_task(self.reconciler.run())

    def take(self, statuses: tuple[IntegrationStatus, ...]) -> None:
        self.statuses = {status.integration.id: status for status in statuses}

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def desire(self, *integrations: Integration) -> None:
        self.reconciler.desire({wanted.id: wanted for wanted in integrations})
        await settle()

    def state(self, integration_id: str = "crm") -> State:
        return self.statuses[integration_id].state


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.start()
    yield world
    await world.stop()
    assert not world.spool.misused


CRM = integration()
MOVED = integration(account=ACCOUNTS[1])


async def test_the_first_activation_creates_the_source_and_takes_events_meanwhile(world: World) -> None:
    world.reconciler.desire({"crm": CRM})
    assert (world.state(), world.statuses["crm"].takes_events, world.statuses["crm"].sends) == (
        State.ACTIVATING,
        True,
        False,
    )
    await settle()
    assert world.aws.made() == [("create", "crm")]
    assert (world.state(), world.statuses["crm"].reason) == (State.ACTIVE, "events flow")
    assert world.reconciler.views() == {"crm": SourceView("ACTIVE", None)}


async def test_the_intent_is_on_disk_before_the_source_is_created(world: World) -> None:
    seen: list[Destination | None] = []
    world.aws.before = lambda *_: seen.append(world.record.disk["crm"].source)
    await world.desire(CRM)
    assert seen[0] == destination_of(CRM)


async def test_a_restart_sends_at_once_without_waiting_for_aws(world: World) -> None:
    await world.desire(CRM)
    await world.stop()
    world.aws.hanging = set(ACCOUNTS)
    world.start()
    world.reconciler.desire({"crm": CRM})
    assert (world.state(), world.statuses["crm"].sends) == (State.ACTIVE, True)


async def test_a_restart_remembers_every_integration_that_had_a_file_as_it_was(world: World) -> None:
    draft = Integration("draft", "Draft", "to do", "", "", "", (), DISABLED)
    live = replace(CRM, name="CRM", notes="ours", topic_filters=("v2.a", "v2.b"))
    await world.desire(live, draft, integration("erp", "erp"))
    await world.desire(live, draft)
    await world.stop()
    world.start()
    assert world.reconciler.remembered() == {"crm": live, "draft": draft}
    world.reconciler.desire(world.reconciler.remembered())
    assert (world.state("crm"), world.state("draft"), world.state("erp")) == (
        State.ACTIVE,
        State.INACTIVE,
        State.INACTIVE,
    )


async def test_nothing_may_be_asked_for_before_the_files_are_read(world: World) -> None:
    await world.desire(CRM)
    await world.stop()
    world.start()
    with pytest.raises(ForwarderError, match="no integration crm"):
        await world.reconciler.request_deletion("crm")
    await settle()
    assert world.statuses == {}


async def test_filters_are_live_on_return_and_do_not_touch_aws(world: World) -> None:
    await world.desire(CRM)
    calls = list(world.aws.calls)
    world.reconciler.desire({"crm": replace(CRM, topic_filters=("v2.users.{id}.presence",))})
    assert world.statuses["crm"].integration.topic_filters == ("v2.users.{id}.presence",)
    assert world.statuses["crm"].sends
    await settle()
    assert world.aws.calls == calls


async def test_a_change_of_identity_deactivates_until_it_is_activated_by_name(world: World) -> None:
    await world.desire(CRM)
    world.spool.take("crm", destination_of(CRM), 3)
    await world.desire(MOVED)
    assert world.state() is State.INACTIVE
    assert "AWS account ID changed from 111111111111 to 222222222222" in world.statuses["crm"].reason
    assert world.aws.made() == [("create", "crm")]
    assert world.spool.pending["crm"]
    await world.reconciler.request_activation("crm")
    await settle()
    assert world.state() is State.ACTIVE
    assert world.spool.buried == [("crm", Reason.SOURCE_REPLACED, 3)]
    assert world.aws.made()[1:] == [("delete", "crm"), ("create", "crm")]
    assert [account for account, _ in world.aws.sources.values()] == [ACCOUNTS[1]]


async def test_what_is_taken_after_the_activation_is_not_buried(world: World) -> None:
    await world.desire(CRM)
    world.spool.take("crm", destination_of(CRM), 3)
    await world.desire(MOVED)
    world.spool.broken = True
    await world.reconciler.request_activation("crm")
    assert world.statuses["crm"].takes_events
    world.spool.take("crm", destination_of(MOVED), 2)
    await settle()
    await world.stop()  # what was noted is on disk
    world.spool.broken = False
    world.start()
    await world.desire(MOVED)
    assert world.state() is State.ACTIVE
    assert world.spool.buried == [("crm", Reason.SOURCE_REPLACED, 3)]
    assert set(world.spool.pending["crm"].values()) == {destination_of(MOVED)}


async def test_a_batch_that_was_matched_before_the_activation_and_is_stored_after_it_is_buried(world: World) -> None:
    await world.desire(CRM)
    await world.desire(MOVED)
    passing = world.spool.passing = asyncio.get_running_loop().create_future()
    await world.reconciler.request_activation("crm")
    await settle()
    assert (world.state(), world.spool.buried) == (State.ACTIVATING, [])
    world.spool.take("crm", destination_of(CRM), 2)
    world.spool.passing = None
    passing.set_result(world.spool.tail)
    world.spool.take("crm", destination_of(MOVED), 1)
    await settle()
    assert world.state() is State.ACTIVE
    assert world.spool.buried == [("crm", Reason.SOURCE_REPLACED, 2)]


async def test_disabled_and_enabled_activates_it_too(world: World) -> None:
    await world.desire(CRM)
    await world.desire(MOVED)
    await world.desire(replace(MOVED, intended_state=DISABLED))
    assert world.aws.made() == [("create", "crm")]
    await world.desire(MOVED)
    assert (world.state(), world.statuses["crm"].destination) == (State.ACTIVE, destination_of(MOVED))


async def test_pausing_touches_neither_the_source_nor_what_is_pending(world: World) -> None:
    await world.desire(CRM)
    world.spool.take("crm", destination_of(CRM))
    await world.desire(replace(CRM, intended_state=DISABLED))
    assert (world.state(), world.statuses["crm"].takes_events) == (State.INACTIVE, False)
    await world.desire(CRM)
    assert world.state() is State.ACTIVE
    assert world.spool.pending["crm"]
    assert ("delete", "crm") not in world.aws.made()


async def test_a_vanished_file_pauses_and_its_return_resumes(world: World) -> None:
    await world.desire(CRM)
    await world.desire()
    assert (world.state(), world.statuses["crm"].sends) == (State.INACTIVE, False)
    await world.clock.advance(600)
    assert len(world.aws.sources) == 1
    world.reconciler.desire({"crm": CRM})
    assert (world.state(), world.statuses["crm"].sends) == (State.ACTIVE, True)


async def test_deletion_deletes_the_source_then_buries_then_forgets(world: World) -> None:
    await world.desire(CRM)
    world.spool.take("crm", destination_of(CRM))
    await world.reconciler.request_deletion("crm")
    assert world.record.disk["crm"].standing is Standing.DELETING
    await settle()
    assert world.aws.sources == {}
    assert world.state() is State.INACTIVE
    assert "remove the file" in world.statuses["crm"].reason
    await world.desire()
    assert world.statuses == {}
    assert world.record.disk == {}
    assert world.spool.forgotten == ["crm"]
    assert world.spool.buried[0] == ("crm", Reason.INTEGRATION_DELETED, 1)


async def test_what_cannot_be_asked_for_says_why(world: World) -> None:
    with pytest.raises(ForwarderError, match="no integration nope"):
        await world.reconciler.request_deletion("nope")
    await world.desire(replace(CRM, intended_state=DISABLED))
    with pytest.raises(ForwarderError, match="set it to ENABLED"):
        await world.reconciler.request_activation("crm")
    await world.desire()
    with pytest.raises(ForwarderError, match=r"crm\.env is gone"):
        await world.reconciler.request_activation("crm")


@pytest.mark.parametrize(("error", "state"), [(THROTTLED, State.ACTIVATING), (REFUSED, State.ERROR)])
async def test_trouble_is_shown_and_tried_again(world: World, error: SourceError, state: State) -> None:
    world.aws.answers["create"] = [error]
    await world.desire(CRM)
    assert world.state() is state
    assert error.message in world.statuses["crm"].reason
    assert world.statuses["crm"].takes_events
    await world.clock.advance(2)
    assert world.state() is State.ACTIVE


async def test_one_that_the_spool_has_no_place_for_is_refused_alone_until_there_is_one(world: World) -> None:
    world.spool.no_place_for = {"crm"}
    await world.desire(CRM, integration("erp", "erp"))
    refused = world.statuses["crm"]
    assert (refused.state, refused.takes_events, refused.sends) == (State.ERROR, False, False)
    assert "no place left" in refused.reason
    assert (world.state("erp"), world.statuses["erp"].takes_events) == (State.ACTIVE, True)
    world.spool.no_place_for = set()
    await world.clock.advance(61)
    assert (world.state("crm"), world.statuses["crm"].takes_events) == (State.ACTIVE, True)


async def test_one_that_hangs_delays_no_other(world: World) -> None:
    world.aws.hanging = {ACCOUNTS[0]}
    await world.desire(CRM, integration("erp", "erp", ACCOUNTS[1]))
    assert (world.state("crm"), world.state("erp")) == (State.ACTIVATING, State.ACTIVE)


async def test_an_error_that_nobody_has_foreseen_is_that_integrations_trouble_alone(world: World) -> None:
    world.aws.faults["create"] = [ValueError("Invalid endpoint: http://host:99999")]
    with capture_logs() as lines:
        await world.desire(CRM, integration("erp", "erp"))
    assert (world.state("crm"), world.state("erp")) == (State.ERROR, State.ACTIVE)
    assert "ValueError: Invalid endpoint: http://host:99999" in world.statuses["crm"].reason
    [line] = [line for line in lines if line["event"] == "integration_action_failed"]
    assert (line["integration"], line["action"], line["exc_info"]) == ("crm", "CreateSource", True)
    await world.clock.advance(2)
    assert world.state("crm") is State.ACTIVE


async def test_a_look_may_fail_in_ways_that_nobody_has_foreseen(world: World) -> None:
    world.aws.faults["look"] = [ValueError("no such region")]
    await world.desire(CRM)
    assert (world.state(), world.statuses["crm"].sends) == (State.ACTIVE, True)
    assert "no such region" in world.statuses["crm"].reason
    await world.clock.advance(2)
    assert world.statuses["crm"].reason == "events flow"


async def test_a_typing_error_in_the_account_needs_no_second_activation(world: World) -> None:
    world.aws.sources["us-east-1", destination_of(CRM).event_source_name] = (ACCOUNTS[1], "ACTIVE")
    await world.desire(CRM)
    assert (world.state(), "already exists for AWS account" in world.statuses["crm"].reason) == (State.ERROR, True)
    world.aws.hanging = {ACCOUNTS[0]}  # would it call there again, it would stay there
    await world.desire(MOVED)
    assert world.state() is State.ACTIVE
    assert world.aws.made() == [("create", "crm"), ("create", "crm")]


async def test_a_source_whose_creation_got_no_answer_is_deleted_when_another_is_wanted(world: World) -> None:
    world.aws.answers["create"] = [LOST, REFUSED]
    await world.desire(CRM)
    await world.clock.advance(2)
    await world.desire(integration(suffix="erp"))
    assert world.state() is State.ACTIVE
    assert [name for _, name in world.aws.sources] == [destination_of(integration(suffix="erp")).event_source_name]


async def test_pending_is_said_loudly_and_looked_at_soon(world: World) -> None:
    await world.desire(CRM)
    world.aws.set_state(CRM, "PENDING")
    with capture_logs() as lines:
        await world.clock.advance(60)
    assert world.state() is State.ACTIVE
    assert "DROPS" in world.statuses["crm"].reason
    assert [line["log_level"] for line in lines] == ["warning"]
    assert world.statuses["crm"].sends
    world.aws.set_state(CRM, "ACTIVE")
    await world.clock.advance(10)
    assert world.statuses["crm"].reason == "events flow"


async def test_events_are_held_while_pending_where_that_is_set() -> None:
    world = World(hold_while_pending=True)
    world.aws.set_state(CRM, "PENDING")
    world.start()
    await world.desire(CRM)
    assert (world.state(), world.statuses["crm"].takes_events, world.statuses["crm"].sends) == (
        State.ACTIVE,
        True,
        False,
    )
    world.aws.set_state(CRM, "ACTIVE")
    await world.clock.advance(10)
    assert world.statuses["crm"].sends
    await world.stop()


async def test_a_source_deleted_by_its_customer_stops_the_lane_until_it_is_activated(world: World) -> None:
    await world.desire(CRM)
    world.aws.set_state(CRM, "DELETED")
    await world.clock.advance(60)
    assert (world.state(), world.statuses["crm"].sends) == (State.ERROR, False)
    assert "forwarder integrations activate crm" in world.statuses["crm"].reason
    await world.reconciler.request_activation("crm")
    await settle()
    assert (world.state(), world.statuses["crm"].sends) == (State.ACTIVE, True)


async def test_a_lane_that_is_refused_stops_until_a_look_shows_the_source(world: World) -> None:
    await world.desire(CRM)
    world.reconciler.source_gone("crm", "NotAuthorizedForSourceException")
    assert (world.state(), world.statuses["crm"].sends) == (State.ERROR, False)
    await settle()
    assert (world.state(), world.statuses["crm"].sends) == (State.ACTIVE, True)
    world.reconciler.source_gone("crm", "NotAuthorizedForSourceException")
    await world.clock.advance(3)
    assert world.state() is State.ERROR  # refused again right after it was shown: not so fast this time
    await world.clock.advance(1)
    assert world.state() is State.ACTIVE


async def test_nothing_is_done_in_aws_while_the_record_cannot_be_written(world: World) -> None:
    world.record.full = True
    await world.desire(CRM)
    assert world.aws.calls == []
    assert (world.state(), "No space left" in world.statuses["crm"].reason) == (State.ERROR, True)
    world.record.full = False
    await world.clock.advance(3)
    assert world.state() is State.ACTIVE


async def test_a_spool_that_cannot_bury_holds_the_replacement_up(world: World) -> None:
    await world.desire(CRM)
    world.spool.broken = True
    await world.desire(MOVED)
    await world.reconciler.request_activation("crm")
    await settle()
    assert (world.state(), "disk I/O error" in world.statuses["crm"].reason) == (State.ACTIVATING, True)
    assert world.aws.made() == [("create", "crm")]
    world.spool.broken = False
    await world.clock.advance(3)
    assert world.state() is State.ACTIVE


async def test_gitops_users_may_have_it_reactivated_by_itself() -> None:
    world = World(reactivate_on_identity_change=True)
    world.start()
    await world.desire(CRM)
    await world.desire(MOVED)
    assert (world.state(), world.statuses["crm"].destination) == (State.ACTIVE, destination_of(MOVED))
    await world.stop()


async def test_each_change_of_state_is_one_log_line(world: World) -> None:
    with capture_logs() as lines:
        await world.desire(CRM)
        await world.clock.advance(600)
    told = [(line["was"], line["state"], line["reason"].partition(" ")[0]) for line in lines]
    assert told == [
        (None, "ACTIVATING", "creating"),
        ("ACTIVATING", "ACTIVE", "the"),
        ("ACTIVE", "ACTIVE", "events"),
    ]


async def test_without_aws_everything_is_there() -> None:
    sources = NoSources()
    await sources.create(destination_of(CRM))
    await sources.delete(destination_of(CRM))
    assert (await sources.look(destination_of(CRM))).state == "ACTIVE"


IDS = st.sampled_from(["a", "b"])
SUFFIXES = st.sampled_from(["xxx", "yyy", "zzz"])  # zzz is a stranger's
ANSWERS = st.sampled_from([None, REFUSED, THROTTLED, LOST])


class Life(RuleBasedStateMachine):
    """Admins edit, remove, activate and delete; AWS answers as it likes; the daemon is killed; the disk fills up.

    The rules that must hold at every step are the invariants below and what `_called` checks of each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.files: dict[str, Integration] = {}
        self.asked_to_delete: set[str] = set()
        self.wrong_calls: list[str] = []
        self.established: set[tuple[str, Destination]] = set()
        self.world = World()
        self.world.aws.before = self._called
        self.stranger = ("us-east-1", destination_of(integration(suffix="zzz")).event_source_name)
        self.world.aws.sources[self.stranger] = (STRANGER, "ACTIVE")
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _start(self) -> None:
        self.world.start()
        await self.world.desire(*self.files.values())

    async def _desired(self) -> None:
        self.world.reconciler.desire(dict(self.files))

    def _called(self, operation: str, destination: Destination) -> None:
        """Look over the caller's shoulder. What is raised here would be taken for trouble of AWS, so it is kept."""
        try:
            self._check_call(operation, destination)
        except AssertionError as error:
            self.wrong_calls.append(str(error))

    @invariant()
    def every_call_is_right(self) -> None:
        assert self.wrong_calls == []
        assert not self.world.spool.misused

    def _check_call(self, operation: str, destination: Destination) -> None:
        """Every call that changes AWS is backed by what is on disk."""
        owners = [(key, kept) for key, kept in self.world.record.disk.items() if kept.source == destination]
        if operation == "look":
            return
        assert len(owners) == 1, f"{operation} without a note on disk"
        [(key, recorded)] = owners
        if operation == "delete":
            replaced = recorded.standing is Standing.ACTIVE and recorded.target != destination and key in self.files
            assert replaced or (recorded.standing is Standing.DELETING and key in self.asked_to_delete)

    @rule(key=IDS, suffix=SUFFIXES, account=st.sampled_from(ACCOUNTS), state=st.sampled_from(IntendedState))
    def edit(self, key: str, suffix: str, account: str, state: IntendedState) -> None:
        edited = integration(key, suffix, account, state)
        taken = {other.event_source_suffix for other in self.files.values() if other.intended_state is ENABLED}
        before = self.files.get(key)
        if before is not None and before.intended_state is ENABLED:
            taken.discard(before.event_source_suffix)
        if state is ENABLED and suffix in taken:
            return  # validation refuses it
        was = self.world.statuses.get(key)
        self.files[key] = edited
        self.run(self._desired())
        now = self.world.statuses[key]
        if was and was.state is State.ACTIVE and state is ENABLED and destination_of(edited) != was.destination:
            assert (now.state, now.takes_events, now.sends) == (State.INACTIVE, False, False)
            assert "deactivated" in now.reason
        if state is DISABLED:
            assert not now.takes_events
        self.run(settle())

    @rule(key=IDS, answer=ANSWERS, account=st.sampled_from(ACCOUNTS))
    def move(self, key: str, answer: SourceError | None, account: str) -> None:
        """The common story: events flow, the account is changed, the integration activated; AWS may stumble once."""
        if key in self.files:
            self.all_is_well()
            self.event(key)
            self.world.aws.answers["create"] = [] if answer is None else [answer]
            self.edit(key, self.files[key].event_source_suffix, account, ENABLED)
            self.activate(key)

    @rule(key=IDS)
    def remove_file(self, key: str) -> None:
        self.files.pop(key, None)
        self.run(self.world.desire(*self.files.values()))

    @rule(key=IDS)
    def activate(self, key: str) -> None:
        with suppress(ForwarderError):
            self.run(self.world.reconciler.request_activation(key))
            self.asked_to_delete.discard(key)
        self.run(settle())

    @rule(key=IDS)
    def delete(self, key: str) -> None:
        self.asked_to_delete.add(key)
        with suppress(ForwarderError):
            self.run(self.world.reconciler.request_deletion(key))
        self.run(settle())

    @rule(answer=ANSWERS)
    def aws_answers(self, answer: SourceError | None) -> None:
        self.world.aws.always = answer

    @rule(accounts=st.sets(st.sampled_from(ACCOUNTS)))
    def aws_hangs(self, accounts: set[str]) -> None:
        self.world.aws.hanging = accounts

    @rule(full=st.booleans(), broken=st.booleans())
    def disk(self, full: bool, broken: bool) -> None:
        self.world.record.full = full
        self.world.spool.broken = broken

    @rule()
    def all_is_well(self) -> None:
        self.world.aws.always, self.world.record.full, self.world.spool.broken = None, False, False
        self.world.aws.hanging = set()
        self.time_passes(61)

    @rule(seconds=st.sampled_from([0.5, 5, 61]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.world.clock.advance(seconds))

    @rule()
    def crash(self) -> None:
        """Killed, and started again from what is on disk."""
        self.run(self.world.stop())
        self.run(self._start())

    @rule(key=IDS, rounds=st.integers(0, 12))
    def crash_in_the_middle(self, key: str, rounds: int) -> None:
        async def some_rounds() -> None:
            await self._desired()
            with suppress(ForwarderError):
                await self.world.reconciler.request_activation(key)
            for _ in range(rounds):
                await asyncio.sleep(0)

        self.run(some_rounds())
        self.crash()

    @rule(key=IDS)
    def event(self, key: str) -> None:
        status = self.world.statuses.get(key)
        if status and status.takes_events:
            self.world.spool.take(key, status.destination)

    @invariant()
    def one_integration_a_source(self) -> None:
        for records in (self.world.record.disk, {k: p.recorded for k, p in self.world.reconciler._plans.items()}):
            sources = [recorded.source for recorded in records.values() if recorded.source]
            assert len(sources) == len(set(sources))

    @invariant()
    def every_source_is_on_record(self) -> None:
        kept = {
            (recorded.source.region, recorded.source.event_source_name, recorded.source.account_id)
            for recorded in self.world.record.disk.values()
            if recorded.source
        }
        made = {(*key, account) for key, (account, _) in self.world.aws.sources.items() if account != STRANGER}
        assert made <= kept

    @invariant()
    def strangers_are_left_alone(self) -> None:
        assert self.world.aws.sources[self.stranger] == (STRANGER, "ACTIVE")

    @invariant()
    def what_sends_has_a_source_and_sends_only_what_was_meant_for_it(self) -> None:
        for key, status in self.world.statuses.items():
            if status.sends:
                where = status.destination
                assert self.world.aws.sources[where.region, where.event_source_name][0] == where.account_id
                meant = set(self.world.spool.pending[key].values())
                # What is taken for a source that never came to be goes where the integration is sent instead.
                assert not {(key, other) for other in meant - {where}} & self.established
                self.established.add((key, where))

    @invariant()
    def only_what_has_an_enabled_file_takes_events(self) -> None:
        for key, status in self.world.statuses.items():
            if status.takes_events:
                assert self.files[key].intended_state is ENABLED

    def teardown(self) -> None:
        try:
            self.all_ends_well()
        finally:
            self.run(self.world.stop())
            self.loop.close()

    def all_ends_well(self) -> None:
        """When all is well again, everything comes to where it should be."""
        world = self.world
        self.all_is_well()
        self.crash()  # frees what hangs
        self.time_passes(1000)
        for key, recorded in world.record.disk.items():
            assert recorded.standing is not Standing.DELETING
            assert recorded.standing is not Standing.DELETED or key in self.files
            if recorded.standing is Standing.ACTIVE and key in self.files:
                where = destination_of(self.files[key])
                owner, _ = world.aws.sources[where.region, where.event_source_name]
                expected = State.ACTIVE if owner == where.account_id else State.ERROR
                assert world.statuses[key].state is expected, world.statuses[key]


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # explaining takes minutes
)
