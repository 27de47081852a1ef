"""The emulated service without its HTTP: states, books, bounds, quotas."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.emulator import wire
from forwarder.emulator.event_log import Event, EventLog
from forwarder.emulator.quota import Quotas, TokenBucket
from forwarder.emulator.sources import EXPIRES_AFTER_SECONDS, SourceState, arn
from forwarder.emulator.state import State

REGION = "us-east-1"
NAME = "aws.partner/example.com/organization/suffix"
ACCOUNT = "123456789012"
NOW = 1_774_055_395.5


def new_state(**options: Any) -> State:
    defaults = {"auto_associate": False, "max_sources": 10, "max_events": 100, "max_bytes": 10_000}
    return State(**(defaults | options))


def create(state: State, name: str = NAME, now: float = NOW, region: str = REGION) -> None:
    state.create_source(region, wire.SourceAccountRequest(name=name, account=ACCOUNT), now)


def delete(state: State, name: str = NAME, account: str = ACCOUNT) -> None:
    state.delete_source(REGION, wire.SourceAccountRequest(name=name, account=account), NOW)


def put(state: State, name: str = NAME, now: float = NOW, **members: Any) -> wire.EntryAnswer:
    entry = wire.Entry(**({"source": name, "detail_type": "t", "detail": "{}"} | members))
    return state.put_events(REGION, wire.PutRequest(entries=(entry,)), now).entries[0]


def account(state: State, name: str = NAME, now: float = NOW) -> wire.AccountAnswer:
    request = wire.ListAccountsRequest(event_source_name=name)
    return state.list_accounts(REGION, request, now).partner_event_source_accounts[0]


def entries(state: State) -> Any:
    return state.stats()["entries"]


def test_a_new_source_is_pending_and_what_it_is_sent_is_accepted_and_dropped() -> None:
    state = new_state()
    create(state)
    assert account(state) == wire.AccountAnswer(
        account=ACCOUNT, state="PENDING", creation_time=NOW, expiration_time=NOW + EXPIRES_AFTER_SECONDS
    )
    assert put(state).event_id
    assert state.events() == []
    assert entries(state) == {"accepted": 1, "delivered": 0, "dropped": 1, "failed": 0, "failed_by_code": {}}


def test_an_associated_source_delivers_and_expires_no_more() -> None:
    state = new_state()
    create(state)
    assert state.set_source_state(REGION, NAME, SourceState.ACTIVE, NOW)
    answer = put(state, now=NOW + 2 * EXPIRES_AFTER_SECONDS)
    assert [event.id for event in state.events()] == [answer.event_id]
    assert account(state).expiration_time is None


def test_a_source_that_nobody_associates_is_deleted_in_the_end() -> None:
    state = new_state()
    create(state)
    assert put(state, now=NOW + EXPIRES_AFTER_SECONDS - 1).error_code is None
    assert put(state, now=NOW + EXPIRES_AFTER_SECONDS).error_code == "NotAuthorizedForSourceException"
    assert account(state).state == "DELETED"


def test_a_deleted_source_refuses_is_told_of_and_can_be_created_anew() -> None:
    state = new_state(auto_associate=True)
    create(state)
    put(state)
    delete(state)
    assert put(state).error_code == "NotAuthorizedForSourceException"
    assert account(state).state == "DELETED"
    with pytest.raises(wire.ApiError, match="ResourceNotFoundException"):
        state.describe_source(REGION, wire.DescribeRequest(name=NAME), NOW)
    create(state, now=NOW + 5)
    assert account(state).creation_time == NOW + 5
    put(state)
    books = {"accepted": 2, "delivered": 2, "dropped": 0, "failed": 1}
    assert entries(state) == books | {"failed_by_code": {"NotAuthorizedForSourceException": 1}}


def test_deleting_what_is_not_there_or_is_somebody_elses_changes_nothing() -> None:
    state = new_state()
    delete(state)
    create(state)
    delete(state, account="210987654321")
    assert account(state).state == "PENDING"


def test_a_name_is_taken_in_its_region_only() -> None:
    state = new_state()
    create(state)
    with pytest.raises(wire.ApiError, match="ResourceAlreadyExistsException"):
        create(state)
    create(state, region="eu-west-1")
    assert state.regions_of(NAME, NOW) == [REGION, "eu-west-1"]


def test_the_number_of_sources_is_limited_and_deleted_ones_give_way_with_their_books_kept() -> None:
    state = new_state(max_sources=2, auto_associate=True)
    create(state, NAME + "1")
    create(state, NAME + "2")
    with pytest.raises(wire.ApiError, match="LimitExceededException"):
        create(state, NAME + "3")
    put(state, NAME + "1")
    delete(state, NAME + "1")
    create(state, NAME + "3")
    assert [source.name for _, source in state.sources(NOW)] == [NAME + "2", NAME + "3"]
    assert entries(state)["delivered"] == 1


def test_unknown_sources_take_no_memory() -> None:
    state = new_state()
    for number in range(1000):
        assert put(state, f"{NAME}{number}").error_code == "NotAuthorizedForSourceException"
    assert list(state.sources(NOW)) == []
    assert entries(state)["failed"] == 1000


@given(names=st.sets(st.integers(0, 30), max_size=12), limit=st.none() | st.integers(1, 5))
def test_listing_pages_through_all_names_once_in_order(names: set[int], limit: int | None) -> None:
    state = new_state(max_sources=100)
    for number in names:
        create(state, f"{NAME}{number:02}")
    create(state, "aws.partner/other.com/x")
    listed: list[str] = []
    token = None
    while True:
        request = wire.ListSourcesRequest(name_prefix=NAME, limit=limit, next_token=token)
        page = state.list_sources(REGION, request, NOW)
        assert len(page.partner_event_sources) <= (limit or 100)
        assert page.partner_event_sources or not names, "no token leads to an empty page"
        listed += [source.name for source in page.partner_event_sources]
        token = page.next_token
        if token is None:
            break
    assert listed == [f"{NAME}{number:02}" for number in sorted(names)]


@pytest.mark.parametrize("token", ["?", "a", "====", "gICA"])
def test_a_token_that_was_never_given_out(token: str) -> None:
    with pytest.raises(wire.ApiError, match="InvalidToken"):
        new_state().list_sources(REGION, wire.ListSourcesRequest(name_prefix=NAME, next_token=token), NOW)


def test_a_state_is_set_on_what_exists_only() -> None:
    state = new_state()
    assert not state.set_source_state("nowhere", NAME, SourceState.ACTIVE, NOW)
    assert state.stats()["regions"] == {}


def test_an_entry_fault_on_order_fails_good_entries_and_is_booked() -> None:
    state = new_state(auto_associate=True)
    create(state)
    good, bad = (wire.Entry(source=NAME, detail_type="t", detail=detail) for detail in ("{}", "[]"))
    request = wire.PutRequest(entries=(good, bad))
    answer = state.put_events(REGION, request, NOW, lambda region, source: ("InternalFailure", f"{region} {source}"))
    assert [entry.error_code for entry in answer.entries] == ["InternalFailure", "MalformedDetail"]
    assert answer.entries[0].error_message == f"{REGION} {NAME}"
    assert answer.failed_entry_count == 2
    assert entries(state)["failed_by_code"] == {"InternalFailure": 1, "MalformedDetail": 1}


def event(sequence: int, size: int) -> Event:
    return Event(sequence, str(sequence), "t", NAME, ACCOUNT, NOW, REGION, (), b"{}", size)


@given(sizes=st.lists(st.integers(1, 60), max_size=60), since=st.integers(0, 70))
def test_the_log_keeps_the_newest_within_both_bounds(sizes: list[int], since: int) -> None:
    log = EventLog(max_events=5, max_bytes=100)
    for number, size in enumerate(sizes, start=1):
        log.append(event(number, size))
    kept = list(log.since(0))
    assert len(kept) == len(log) <= 5
    assert log.kept_bytes == sum(one.size for one in kept) <= 100
    assert [one.sequence for one in kept] == list(range(len(sizes) - len(kept) + 1, len(sizes) + 1))
    assert log.evicted + len(log) == len(sizes)
    assert [one.sequence for one in log.since(since)] == [one.sequence for one in kept if one.sequence > since]
    if 0 < len(kept) < min(5, len(sizes)):
        assert log.kept_bytes + sizes[-len(kept) - 1] > 100, "nothing is forgotten without need"


def test_the_newest_event_is_kept_however_large() -> None:
    log = EventLog(max_events=5, max_bytes=100)
    log.append(event(1, 10))
    log.append(event(2, 1000))
    assert [one.sequence for one in log.since(0)] == [2]


def test_events_are_filtered_and_limited() -> None:
    state = new_state(auto_associate=True)
    for name in (NAME, NAME + "2"):
        create(state, name)
    for name in (NAME, NAME + "2", NAME, NAME):
        put(state, name)
    assert [one.sequence for one in state.events(source=NAME)] == [1, 3, 4]
    assert [one.sequence for one in state.events(source=NAME, since=1, limit=1)] == [3]
    assert [one.sequence for one in state.events(since=2)] == [3, 4]


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.2) for _ in range(3)] == [True, True, False]
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]


def test_quotas_are_by_region_and_apart_for_put_events() -> None:
    quotas = Quotas(put_rate=1, put_burst=2, other_rate=1)
    for region in (REGION, "eu-west-1"):
        quotas.take(region, "ListPartnerEventSources", 0)
        for operation in ("PutPartnerEvents", "PutPartnerEvents"):
            quotas.take(region, operation, 0)
        for operation in ("PutPartnerEvents", "CreatePartnerEventSource"):
            with pytest.raises(wire.ApiError, match="ThrottlingException: Rate exceeded"):
                quotas.take(region, operation, 0)


def test_no_rate_is_no_limit() -> None:
    quotas = Quotas(put_rate=None, put_burst=0, other_rate=None)
    for _ in range(100):
        quotas.take(REGION, "PutPartnerEvents", 0)
        quotas.take(REGION, "ListPartnerEventSources", 0)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-isob-east-1", "aws-iso-b")],
)
def test_arns(region: str, partition: str) -> None:
    assert arn(region, NAME) == f"arn:{partition}:events:{region}::event-source/{NAME}"
