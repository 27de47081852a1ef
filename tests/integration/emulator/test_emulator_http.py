"""The emulator's own API, and faults that are felt on the socket."""

import asyncio
import io
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.exceptions import ConnectionError as AwsConnectionError
from yarl import URL

from forwarder.emulator.http import Emulator, serve

NAME = "aws.partner/example.com/organization/suffix"
ACCOUNT = "123456789012"

ClientFactory = Callable[..., AbstractAsyncContextManager[Any]]


def entry(number: int = 0, source: str = NAME) -> dict[str, Any]:
    return {"Source": source, "DetailType": "t.{id}", "Detail": f'{{"n":{number}}}', "Time": 1_774_055_395.9}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (what is awaited happens in the emulator, which signals nobody)
            await asyncio.sleep(0.01)


async def get(admin: aiohttp.ClientSession, path: str) -> Any:
    async with admin.get(path) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        return await answer.json()


async def post(admin: aiohttp.ClientSession, path: str | URL, body: object) -> tuple[int, Any]:
    async with admin.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def active_source(admin: aiohttp.ClientSession, events: Any, name: str = NAME) -> None:
    await events.create_partner_event_source(Name=name, Account=ACCOUNT)
    assert (await post(admin, f"/_emulator/sources/{name}/state", {"state": "ACTIVE"}))[0] == 200


async def test_events_as_the_customer_gets_them(admin: aiohttp.ClientSession, events: Any) -> None:
    await active_source(admin, events)
    answer = await events.put_partner_events(Entries=[entry(7)])
    got = await get(admin, "/_emulator/events")
    assert got == {
        "events": [
            {
                "version": "0",
                "id": answer["Entries"][0]["EventId"],
                "detail-type": "t.{id}",
                "source": NAME,
                "account": ACCOUNT,
                "time": "2026-03-21T01:09:55Z",
                "region": "us-east-1",
                "resources": [],
                "detail": {"n": 7},
                "sequence": 1,
            }
        ],
        "next": 1,
        "oldest": 1,
    }


async def test_the_detail_is_served_byte_for_byte(admin: aiohttp.ClientSession, events: Any) -> None:
    await active_source(admin, events)
    detail = '{ "a":1e400, "a":1.0,"é":"\\u00e9" }'
    await events.put_partner_events(Entries=[entry() | {"Detail": detail}])
    async with admin.get("/_emulator/events") as answer:
        assert f'"detail":{detail},'.encode() in await answer.read()


async def test_reading_on_from_where_one_was(admin: aiohttp.ClientSession, events: Any) -> None:
    other = NAME + "-2"
    await active_source(admin, events)
    await active_source(admin, events, other)
    await events.put_partner_events(Entries=[entry(n, NAME if n % 2 else other) for n in range(10)])
    seen, since = [], 0
    while True:
        page = await get(admin, f"/_emulator/events?source={NAME}&since={since}&limit=2")
        if not page["events"]:
            break
        seen += [event["detail"]["n"] for event in page["events"]]
        since = page["next"]
    assert seen == [1, 3, 5, 7, 9]
    assert since == 10, "a page that was not cut short has seen other sources' events too"
    encoded = await get(admin, "/_emulator/events?source=" + other.replace("/", "%2F"))
    assert [event["detail"]["n"] for event in encoded["events"]] == [0, 2, 4, 6, 8]
    assert encoded["next"] == 10


@pytest.mark.parametrize("query", ["since=-1", "since=x", "limit=0", "sources=x"])
async def test_a_bad_query_is_answered_in_words(admin: aiohttp.ClientSession, query: str) -> None:
    async with admin.get(f"/_emulator/events?{query}") as answer:
        assert answer.status == 400
        assert "query: " in (await answer.json())["error"]


async def test_memory_stays_bounded_and_the_forgotten_stay_counted(connect: ClientFactory) -> None:
    small = Emulator(auto_associate=True, max_events=30, max_event_bytes=1500, credentials={"test": "test"})
    async with small as emulator, aiohttp.ClientSession(emulator.url) as admin:
        async with connect(to=emulator) as client:
            await client.create_partner_event_source(Name=NAME, Account=ACCOUNT)
            for _ in range(5):
                await client.put_partner_events(Entries=[entry(number) for number in range(20)])
        stats = await get(admin, "/_emulator/stats")
        kept = stats["events"]
        assert kept["last_sequence"] == stats["entries"]["delivered"] == 100
        assert kept["kept"] + kept["evicted"] == 100
        assert kept["kept"] <= 30
        assert kept["kept_bytes"] <= 1500
        got = await get(admin, "/_emulator/events")
        assert [event["sequence"] for event in got["events"]] == list(range(got["oldest"], 101))


async def test_the_books(admin: aiohttp.ClientSession, events: Any) -> None:
    pending = NAME + "-pending"
    await active_source(admin, events)
    await events.create_partner_event_source(Name=pending, Account=ACCOUNT)
    await events.put_partner_events(Entries=[entry(), entry(source=pending), entry(source=NAME + "-unknown")])
    stats = await get(admin, "/_emulator/stats")
    assert stats["calls"] == {"total": 3, "outcomes": {"ok": 3}, "refused": {}}
    total = {"accepted": 2, "delivered": 1, "dropped": 1, "failed": 1}
    assert stats["entries"] == total | {"failed_by_code": {"NotAuthorizedForSourceException": 1}}
    region = stats["regions"]["us-east-1"]
    assert region["calls"] == {"CreatePartnerEventSource": {"ok": 2}, "PutPartnerEvents": {"ok": 1}}
    assert region["sources"][pending]["dropped"] == 1
    assert region["sources"][NAME]["delivered"] == 1
    assert region["other_sources"]["failed"] == 1


@pytest.mark.parametrize("path", [NAME, NAME.replace("/", "%2F")])
@pytest.mark.parametrize("state", ["ACTIVE", "PENDING", "DELETED"])
async def test_the_state_of_a_source_is_set_by_its_name(
    admin: aiohttp.ClientSession, events: Any, path: str, state: str
) -> None:
    await events.create_partner_event_source(Name=NAME, Account=ACCOUNT)
    url = URL(f"/_emulator/sources/{path}/state", encoded=True)
    assert await post(admin, url, {"state": state}) == (200, {"name": NAME, "region": "us-east-1", "state": state})
    accounts = await events.list_partner_event_source_accounts(EventSourceName=NAME)
    assert accounts["PartnerEventSourceAccounts"][0]["State"] == state
    (source,) = (await get(admin, "/_emulator/sources"))["sources"]
    assert (source["name"], source["account"], source["state"]) == (NAME, ACCOUNT, state)


async def test_a_source_in_two_regions_needs_the_region_said(
    admin: aiohttp.ClientSession, events: Any, connect: ClientFactory
) -> None:
    await events.create_partner_event_source(Name=NAME, Account=ACCOUNT)
    async with connect(region="eu-west-1") as elsewhere:
        await elsewhere.create_partner_event_source(Name=NAME, Account=ACCOUNT)
    url = f"/_emulator/sources/{NAME}/state"
    status, answer = await post(admin, url, {"state": "ACTIVE"})
    assert status == 409
    assert "us-east-1, eu-west-1" in answer["error"]
    assert (await post(admin, url, {"state": "ACTIVE", "region": "eu-west-1"}))[1]["region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (f"/_emulator/sources/{NAME}/state", {"state": "ACTIVE"}, 404, "create it first"),
        (f"/_emulator/sources/{NAME}/state", {"state": "ACTIVE", "region": "x"}, 404, "in x: create it first"),
        (f"/_emulator/sources/{NAME}/state", {"state": "ON"}, 400, "Invalid enum value 'ON'"),
        (f"/_emulator/sources/{NAME}/state", {}, 400, "missing required field `state`"),
        ("/_emulator/faults", {"throttle_rate": 2}, 400, "throttle_rate"),
        ("/_emulator/faults", {"speed": 2}, 400, "unknown field `speed`"),
        ("/_emulator/nothing", {}, 404, "there are GET events"),
        ("/_emulator/events", {}, 404, "there are GET events"),
    ],
)
async def test_bad_requests_are_answered_in_words(
    admin: aiohttp.ClientSession, path: str, body: object, status: int, words: str
) -> None:
    got, answer = await post(admin, path, body)
    assert got == status
    assert words in answer["error"]


async def test_fault_rules_are_set_shown_and_cleared(admin: aiohttp.ClientSession, events: Any) -> None:
    rule = {"region": "us-east-1", "errors": [{"code": "ServiceUnavailable", "rate": 1.0, "status": 503}]}
    assert await post(admin, "/_emulator/faults", rule) == (200, {"rules": [rule]})
    assert await get(admin, "/_emulator/faults") == {"rules": [rule]}
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        await events.create_partner_event_source(Name=NAME, Account=ACCOUNT)
    async with admin.delete("/_emulator/faults") as answer:
        assert await answer.json() == {"rules": []}
    await events.create_partner_event_source(Name=NAME, Account=ACCOUNT)


@pytest.mark.parametrize(("when", "delivered"), [("before", 0), ("after", 1)])
async def test_a_reset_connection_is_felt_and_booked_for_what_it_was(
    admin: aiohttp.ClientSession, events: Any, when: str, delivered: int
) -> None:
    await active_source(admin, events)
    await post(admin, "/_emulator/faults", {f"reset_{when}_rate": 1})
    with pytest.raises(AwsConnectionError):
        await events.put_partner_events(Entries=[entry()])
    stats = await get(admin, "/_emulator/stats")
    assert stats["regions"]["us-east-1"]["calls"]["PutPartnerEvents"] == {f"reset_{when}": 1}
    assert stats["entries"]["delivered"] == delivered
    assert len((await get(admin, "/_emulator/events"))["events"]) == delivered


async def test_a_hanging_call_is_never_answered_nor_processed(
    admin: aiohttp.ClientSession, events: Any, connect: ClientFactory
) -> None:
    await active_source(admin, events)
    await post(admin, "/_emulator/faults", {"hang_rate": 1, "source": NAME})
    async with connect(read_timeout=0.3) as impatient:
        with pytest.raises(ReadTimeoutError):
            await impatient.put_partner_events(Entries=[entry()])
    stats = await get(admin, "/_emulator/stats")
    assert stats["regions"]["us-east-1"]["calls"]["PutPartnerEvents"] == {"hang": 1}
    assert stats["entries"]["accepted"] == 0


async def test_a_slow_call_is_processed_though_its_client_has_given_up(
    emulator: Emulator,
    admin: aiohttp.ClientSession,
    events: Any,
    connect: ClientFactory,
) -> None:
    await active_source(admin, events)
    await post(admin, "/_emulator/faults", {"latency_ms": 400})
    async with connect(read_timeout=0.1) as impatient:
        with pytest.raises(ReadTimeoutError):
            await impatient.put_partner_events(Entries=[entry()])
    assert not emulator.state.events()
    await until(lambda: bool(emulator.state.events()))


async def test_latency_of_one_source_is_not_anothers(admin: aiohttp.ClientSession, events: Any) -> None:
    other = NAME + "-2"
    await active_source(admin, events)
    await active_source(admin, events, other)
    await post(admin, "/_emulator/faults", {"source": NAME, "latency_ms": 600_000})
    slow = asyncio.create_task(events.put_partner_events(Entries=[entry()]))
    await events.put_partner_events(Entries=[entry(source=other)])
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_share_of_the_entries_fails_alone(admin: aiohttp.ClientSession, events: Any) -> None:
    await active_source(admin, events)
    rule = {"source": NAME, "seed": 3, "entry_errors": [{"code": "InternalFailure", "rate": 0.3}]}
    await post(admin, "/_emulator/faults", rule)
    failed = []
    for _ in range(10):
        answer = await events.put_partner_events(Entries=[entry(number) for number in range(20)])
        codes = [result.get("ErrorCode") for result in answer["Entries"]]
        assert codes.count("InternalFailure") == answer["FailedEntryCount"]
        failed += codes
    share = failed.count("InternalFailure")
    assert 30 <= share <= 90
    assert set(failed) == {None, "InternalFailure"}
    stats = await get(admin, "/_emulator/stats")
    assert stats["entries"]["failed_by_code"] == {"InternalFailure": share}
    assert stats["entries"]["delivered"] == 200 - share


async def test_stopping_waits_for_no_hanging_call(emulator: Emulator, events: Any) -> None:
    await events.create_partner_event_source(Name=NAME, Account=ACCOUNT)
    async with aiohttp.ClientSession(emulator.url) as admin:
        await post(admin, "/_emulator/faults", {"hang_rate": 1})
    call = asyncio.create_task(events.put_partner_events(Entries=[entry()]))
    await until(lambda: "hang" in json.dumps(emulator.state.stats()))
    async with asyncio.timeout(10):
        await emulator.stop()
    with pytest.raises(ConnectionClosedError):
        await call


async def test_serve_runs_until_cancelled_and_names_a_taken_port(emulator: Emulator) -> None:
    with pytest.raises(OSError, match=str(emulator.port)):
        await serve(Emulator(port=emulator.port))
    another = Emulator()
    running = asyncio.create_task(serve(another))
    await until(lambda: another.port != 0)
    async with aiohttp.ClientSession(another.url) as admin:
        assert (await get(admin, "/_emulator/stats"))["calls"]["total"] == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_call_over_a_mebibyte(admin: aiohttp.ClientSession) -> None:
    async with admin.post("/", data=io.BytesIO(b" " * (1024 * 1024 + 1))) as answer:
        assert answer.status == 413
        assert json.loads(await answer.read())["__type"] == "RequestEntityTooLarge"


async def test_what_is_no_api_call_gets_an_error_in_aws_form(admin: aiohttp.ClientSession) -> None:
    put = {"X-Amz-Target": "AWSEvents.PutPartnerEvents"}
    for method, path, headers in (
        ("GET", "/", {}),
        ("GET", "/", put),
        ("POST", "/elsewhere", put),
        ("POST", "/", {"X-Amz-Target": "DynamoDB.PutPartnerEvents"}),
    ):
        async with admin.request(method, path, headers=headers) as answer:
            assert answer.status == 400
            assert answer.content_type == "application/x-amz-json-1.1"
            assert json.loads(await answer.read())["__type"] == "UnknownOperationException"
    async with admin.post("/", headers=put) as answer:
        assert json.loads(await answer.read())["__type"] == "MissingAuthenticationTokenException"
