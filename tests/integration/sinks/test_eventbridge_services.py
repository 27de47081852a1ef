"""The sink against whole services, with credentials and endpoint from the real AWS session: the emulator, which
verifies signatures and limits, and moto as an independent second opinion."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from moto.server import ThreadedMotoServer

from forwarder.aws import AwsSession
from forwarder.emulator.faults import CallError, EntryError, FaultRule
from forwarder.emulator.http import Emulator
from forwarder.errors import PutError
from forwarder.model import Delivery, Destination, EntryResult, Notification, Reason, Verdict
from forwarder.rules.retry import Park, Split, decide_call, decide_entry
from forwarder.sinks.base import Sink, SinkContext
from forwarder.sinks.eventbridge import PLUGIN

ACCOUNT = "123456789012"
DESTINATION = Destination(ACCOUNT, "us-east-1", "aws.partner/genesys.com/cloud/organization/crm-prod")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@asynccontextmanager
async def sink_of(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sink]:
    """The sink, and the event source created."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", url)
    session = AwsSession()
    sink = PLUGIN.create(PLUGIN.settings(), SinkContext(session, 4, 262_144))
    try:
        client = await session.client(DESTINATION.region)
        await client.create_partner_event_source(Name=DESTINATION.event_source_name, Account=ACCOUNT)
        yield sink
    finally:
        await sink.close()
        await session.close()


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(auto_associate=True) as running:
        yield running


@pytest.fixture
async def sink(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sink]:
    async with sink_of(emulator.url, monkeypatch) as made:
        yield made


def delivery(detail: bytes = b'{"n":1.0, "n":1e400, "u":"\\u00e9\xc3\xa9"}') -> Delivery:
    notification = Notification("id", "v2.users.1.presence", detail, 1_774_055_395, 1.0)
    return Delivery(1, notification, "crm", "v2.users.{id}.presence")


async def test_the_emulator_delivers_what_was_sent_byte_for_byte(emulator: Emulator, sink: Sink) -> None:
    results = await sink.put(DESTINATION, [delivery()] * 20)
    events = emulator.state.events()
    assert [result.event_id for result in results] == [event.id for event in events]
    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert {event.detail for event in events} == {delivery().notification.detail}
    assert {(event.source, event.detail_type) for event in events} == {
        (DESTINATION.event_source_name, "v2.users.{id}.presence")
    }


async def test_a_source_that_is_gone(sink: Sink) -> None:
    elsewhere = Destination(ACCOUNT, "eu-west-1", DESTINATION.event_source_name)
    [result] = await sink.put(elsewhere, [delivery()])
    assert decide_entry(result) == Park(Reason.SOURCE_GONE)


async def test_entries_that_fail_alone(emulator: Emulator, sink: Sink) -> None:
    emulator.faults.set(FaultRule(entry_errors=(EntryError("ThrottlingException", 0.5),), seed=1))
    results = await sink.put(DESTINATION, [delivery()] * 20)
    failed = [result for result in results if result.verdict is not Verdict.ACCEPTED]
    assert 0 < len(failed) < 20
    assert {decide_entry(result) for result in failed} == {Park(Reason.ENTRY_THROTTLED)}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (FaultRule(throttle_rate=1), Reason.THROTTLED),
        (FaultRule(errors=(CallError("InternalException", 1),)), Reason.SERVER_ERROR),
        (FaultRule(errors=(CallError("ServiceUnavailable", 1),)), Reason.SERVER_ERROR),
        (FaultRule(errors=(CallError("OperationDisabledException", 1),)), Reason.DISABLED_REGION),
        (FaultRule(errors=(CallError("ExpiredTokenException", 1),)), Reason.CREDENTIALS),
        (FaultRule(reset_before_rate=1), Reason.CONNECTION),
        (FaultRule(reset_after_rate=1), Reason.CONNECTION),
    ],
)
async def test_calls_that_fail_whole(emulator: Emulator, sink: Sink, rule: FaultRule, reason: Reason) -> None:
    emulator.faults.set(rule)
    with pytest.raises(PutError) as caught:
        await sink.put(DESTINATION, [delivery()])
    assert caught.value.reason is reason
    emulator.faults.clear()
    assert [result.verdict for result in await sink.put(DESTINATION, [delivery()])] == [Verdict.ACCEPTED]


@pytest.mark.parametrize("deliveries", [[delivery()] * 21, [delivery(b'{"a":"' + b"x" * 200_000 + b'"}')] * 2])
async def test_a_call_over_the_services_limits_is_to_be_split(sink: Sink, deliveries: list[Delivery]) -> None:
    with pytest.raises(PutError) as caught:
        await sink.put(DESTINATION, deliveries)
    assert decide_call(caught.value, len(deliveries)) == Split()


async def test_the_largest_call_is_accepted(sink: Sink) -> None:
    room = 262_144 - sink.entry_size(DESTINATION, delivery(b"{}"))
    largest = delivery(b"{" + b" " * room + b"}")
    assert sink.entry_fault(DESTINATION, largest) is None
    assert [result.verdict for result in await sink.put(DESTINATION, [largest])] == [Verdict.ACCEPTED]


async def test_a_wrong_secret(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", emulator.url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    session = AwsSession()
    sink = PLUGIN.create(PLUGIN.settings(), SinkContext(session, 4, 262_144))
    with pytest.raises(PutError) as caught:
        await sink.put(DESTINATION, [delivery()])
    await sink.close()
    await session.close()
    assert (caught.value.reason, caught.value.code) == (Reason.CREDENTIALS, "InvalidSignatureException")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    async with Emulator(clock=lambda: time.time() + hours * 3600) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", emulator.url)
        session = AwsSession()
        sink = PLUGIN.create(PLUGIN.settings(), SinkContext(session, 4, 262_144))
        with pytest.raises(PutError, match="clock differs from AWS's by more than five minutes") as caught:
            await sink.put(DESTINATION, [delivery()])
        await sink.close()
        await session.close()
    assert caught.value.reason is Reason.CLOCK_SKEW


async def test_moto_takes_our_entries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    async with sink_of(f"http://{host}:{port}", monkeypatch) as sink:
        results = await sink.put(DESTINATION, [delivery(b'{"n":1.0}')] * 3)
    server.stop()
    assert results == (EntryResult(Verdict.ACCEPTED),) * 3, "moto gives no event ids and an empty list"
