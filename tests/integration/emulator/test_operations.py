"""Every operation, and every error that the emulator claims, with AWS's own client library over a real socket."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from forwarder.emulator.faults import CallError, FaultRule
from forwarder.emulator.http import Emulator
from forwarder.emulator.sources import SourceState

NAME = "aws.partner/example.com/organization/suffix"
ACCOUNT = "123456789012"
REGION = "us-east-1"

ClientFactory = Callable[..., AbstractAsyncContextManager[Any]]


async def refused(call: Any) -> tuple[str, int, str]:
    """Code, status and message of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        await call
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def entry(**members: Any) -> dict[str, Any]:
    return {"Source": NAME, "DetailType": "v2.users.{id}.presence", "Detail": '{"a":1}'} | members


async def create(events: Any, name: str = NAME) -> str:
    answer = await events.create_partner_event_source(Name=name, Account=ACCOUNT)
    return str(answer["EventSourceArn"])


async def create_active(emulator: Emulator, events: Any, name: str = NAME) -> None:
    await create(events, name)
    assert emulator.state.set_source_state(REGION, name, SourceState.ACTIVE, 0)


async def test_a_source_from_creation_to_deletion(events: Any) -> None:
    arn = await create(events)
    assert arn == f"arn:aws:events:us-east-1::event-source/{NAME}"
    described = await events.describe_partner_event_source(Name=NAME)
    assert (described["Name"], described["Arn"]) == (NAME, arn)
    listed = await events.list_partner_event_sources(NamePrefix="aws.partner/example.com/")
    assert listed["PartnerEventSources"] == [{"Arn": arn, "Name": NAME}]
    assert "NextToken" not in listed
    await events.delete_partner_event_source(Name=NAME, Account=ACCOUNT)
    assert (await events.list_partner_event_sources(NamePrefix="aws.partner/example.com/"))["PartnerEventSources"] == []
    assert (await refused(events.describe_partner_event_source(Name=NAME)))[:2] == ("ResourceNotFoundException", 400)


async def test_the_accounts_of_a_source_tell_its_state(events: Any) -> None:
    await create(events)
    (account,) = (await events.list_partner_event_source_accounts(EventSourceName=NAME))["PartnerEventSourceAccounts"]
    assert (account["Account"], account["State"]) == (ACCOUNT, "PENDING")
    assert abs(account["CreationTime"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert account["ExpirationTime"] - account["CreationTime"] == timedelta(days=7)


async def test_listing_by_pages_with_botocores_tokens(events: Any) -> None:
    names = [f"{NAME}-{number}" for number in range(5)]
    for name in reversed(names):
        await create(events, name)
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        page = await events.list_partner_event_sources(NamePrefix=NAME, Limit=2, **token)
        pages.append([source["Name"] for source in page["PartnerEventSources"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages == [names[:2], names[2:4], names[4:]]


async def test_model_errors(events: Any) -> None:
    await create(events)
    client = events.exceptions
    with pytest.raises(client.ResourceAlreadyExistsException):
        await create(events)
    with pytest.raises(client.ResourceNotFoundException):
        await events.describe_partner_event_source(Name=NAME + "x")
    with pytest.raises(client.ResourceNotFoundException):
        await events.list_partner_event_source_accounts(EventSourceName=NAME + "x")
    assert (await refused(events.list_partner_event_sources(NamePrefix="aws.partner/a/", NextToken="?")))[0] == (
        "InvalidToken"
    )
    await events.delete_partner_event_source(Name=NAME + "x", Account=ACCOUNT)  # the model has no "not found" for it


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ConcurrentModificationException", 400),
        ("LimitExceededException", 400),
        ("OperationDisabledException", 400),
        ("InternalException", 500),
        ("ThrottlingException", 400),
        ("ServiceUnavailable", 503),
        ("AccessDeniedException", 400),
        ("ExpiredTokenException", 400),
    ],
)
async def test_errors_on_order_reach_the_client_with_their_code(
    emulator: Emulator, events: Any, connect: ClientFactory, code: str, status: int
) -> None:
    emulator.faults.set(FaultRule(region=REGION, errors=(CallError(code=code, rate=1),)))
    assert (await refused(create(events)))[:2] == (code, status)
    assert (await refused(events.put_partner_events(Entries=[entry()])))[:2] == (code, status)
    async with connect(region="eu-west-1") as elsewhere:
        await create(elsewhere)


async def test_more_sources_than_a_region_may_have(connect: ClientFactory) -> None:
    async with Emulator(max_sources=1, credentials={"test": "test"}) as emulator, connect(to=emulator) as events:
        await create(events)
        with pytest.raises(events.exceptions.LimitExceededException):
            await create(events, NAME + "2")


@pytest.mark.parametrize(
    ("operation", "arguments", "words"),
    [
        ("create_partner_event_source", {"Name": "aws.partner/x", "Account": ACCOUNT}, ["'name'", "pattern"]),
        ("create_partner_event_source", {"Name": NAME, "Account": "12345678901x"}, ["'account'", "pattern"]),
        ("create_partner_event_source", {"Name": NAME + "x" * 256, "Account": ACCOUNT}, ["'name'", "less than"]),
        ("create_partner_event_source", {"Name": NAME}, ["null at 'account'"]),
        ("create_partner_event_source", {}, ["2 validation errors", "null at 'name'", "null at 'account'"]),
        ("delete_partner_event_source", {"Name": "", "Account": ACCOUNT}, ["'name'", "greater than"]),
        ("describe_partner_event_source", {}, ["null at 'name'"]),
        ("list_partner_event_sources", {}, ["null at 'namePrefix'"]),
        ("list_partner_event_sources", {"NamePrefix": "aws.partner"}, ["'namePrefix'", "pattern"]),
        ("list_partner_event_sources", {"NamePrefix": "aws.partner/a/", "Limit": 101}, ["'limit'", "equal to 100"]),
        ("list_partner_event_sources", {"NamePrefix": "aws.partner/a/", "Limit": 0}, ["'limit'", "equal to 1"]),
        ("list_partner_event_sources", {"NamePrefix": "aws.partner/a/", "NextToken": ""}, ["'nextToken'"]),
        ("list_partner_event_source_accounts", {"EventSourceName": "x"}, ["'eventSourceName'", "pattern"]),
        ("put_partner_events", {}, ["null at 'entries'"]),
        ("put_partner_events", {"Entries": []}, ["'entries'", "greater than or equal to 1"]),
        ("put_partner_events", {"Entries": [entry()] * 21}, ["'entries'", "less than or equal to 20"]),
        ("put_partner_events", {"Entries": [entry(Detail='{"a":"' + "x" * 262_144 + '"}')]}, ["over the limit"]),
    ],
)
async def test_calls_out_of_bounds(events: Any, operation: str, arguments: dict[str, Any], words: list[str]) -> None:
    code, status, message = await refused(getattr(events, operation)(**arguments))
    assert (code, status) == ("ValidationException", 400)
    for word in words:
        assert word in message


async def test_values_of_the_wrong_type(events: Any) -> None:
    code, status, _ = await refused(events.put_partner_events(Entries=[entry(Detail=5)]))
    assert (code, status) == ("SerializationException", 400)


async def test_other_operations_of_the_service_are_unknown(events: Any) -> None:
    assert (await refused(events.list_rules()))[:2] == ("UnknownOperationException", 400)


async def test_results_are_aligned_with_the_entries(emulator: Emulator, events: Any) -> None:
    await create_active(emulator, events)
    sent = [
        (entry(), None),
        (entry(Detail="[1]"), "MalformedDetail"),
        (entry(Source=NAME + "x"), "NotAuthorizedForSourceException"),
        (entry(DetailType="t" * 129), "InvalidArgument"),
        (entry(Source="crm"), "InvalidArgument"),
        (entry(Time=datetime(2026, 3, 21, tzinfo=UTC), Resources=["arn:a", "arn:b"]), None),
        ({"Source": NAME, "DetailType": "t"}, "InvalidArgument"),
    ]
    answer = await events.put_partner_events(Entries=[one for one, _ in sent])
    assert [result.get("ErrorCode") for result in answer["Entries"]] == [code for _, code in sent]
    assert answer["FailedEntryCount"] == 5
    for result in answer["Entries"]:
        assert ("EventId" in result) != ("ErrorMessage" in result)
    delivered = emulator.state.events(source=NAME)
    assert [event.id for event in delivered] == [answer["Entries"][0]["EventId"], answer["Entries"][5]["EventId"]]
    assert delivered[1].resources == ("arn:a", "arn:b")


async def test_twenty_entries_of_exactly_the_limit_are_accepted(emulator: Emulator, events: Any) -> None:
    await create_active(emulator, events)
    empty = entry(Detail='{"a":""}')
    room = 262_144 - 20 * sum(len(text) for text in empty.values())
    full = entry(Detail='{"a":"' + "x" * room + '"}')
    assert (await events.put_partner_events(Entries=[empty] * 19 + [full]))["FailedEntryCount"] == 0
    more = entry(Detail='{"a":"' + "x" * (room + 1) + '"}')
    assert (await refused(events.put_partner_events(Entries=[empty] * 19 + [more])))[0] == "ValidationException"


async def test_event_ids_are_unique_over_all_states(emulator: Emulator, events: Any) -> None:
    await create_active(emulator, events)
    await create(events, NAME + "-pending")
    both = [entry(), entry(Source=NAME + "-pending")] * 10
    ids = [result["EventId"] for _ in range(3) for result in (await events.put_partner_events(Entries=both))["Entries"]]
    assert len(set(ids)) == 60
    assert len(emulator.state.events()) == 30


async def test_regions_know_nothing_of_each_other(events: Any, connect: ClientFactory) -> None:
    await create(events)
    async with connect(region="cn-north-1") as elsewhere:
        answer = await elsewhere.put_partner_events(Entries=[entry()])
        assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"
        assert await create(elsewhere) == f"arn:aws-cn:events:cn-north-1::event-source/{NAME}"


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [("test", "wrong", "InvalidSignatureException"), ("AKIAUNKNOWN", "test", "UnrecognizedClientException")],
)
async def test_wrong_credentials(emulator: Emulator, connect: ClientFactory, key: str, secret: str, code: str) -> None:
    async with connect(key=key, secret=secret) as events:
        assert (await refused(create(events)))[:2] == (code, 400)
    assert emulator.state.refused == {code: 1}


async def test_a_region_that_does_not_exist(connect: ClientFactory) -> None:
    async with connect(region="mars-north-1") as events:
        code, _, message = await refused(create(events))
    assert code == "InvalidSignatureException"
    assert "not 'mars-north-1'" in message


async def test_a_clock_that_is_wrong(connect: ClientFactory) -> None:
    an_hour_ago = datetime.now(UTC).timestamp() - 3600
    late = Emulator(credentials={"test": "test"}, clock=lambda: an_hour_ago)
    async with late as emulator, connect(to=emulator) as events:
        code, _, message = await refused(create(events))
    assert code == "InvalidSignatureException"
    assert message.startswith("Signature not yet current")


async def test_the_quotas_throttle_as_aws_does(connect: ClientFactory) -> None:
    slow = Emulator(credentials={"test": "test"}, put_calls_per_second=0.001, put_burst=2, other_calls_per_second=1)
    async with slow as emulator, connect(to=emulator) as events:
        await create(events)
        for _ in range(2):
            await events.put_partner_events(Entries=[entry()])
        assert await refused(events.put_partner_events(Entries=[entry()])) == (
            "ThrottlingException",
            400,
            "Rate exceeded",
        )
        stats: Any = emulator.state.stats()
        assert stats["regions"][REGION]["calls"]["PutPartnerEvents"] == {"ok": 2, "ThrottlingException": 1}


async def test_a_session_token_is_signed_and_accepted(connect: ClientFactory) -> None:
    async with connect(token="a/b+c=") as events:
        await create(events)


@pytest.mark.parametrize(
    "detail",
    [
        '{"a":1.0,"b":1e400,"c":100000000000000000000000000000,"a":2}',
        '{ "b" : 1 ,\t"a":"\\u00e9\\/é😀" }',
        '{"eventBody":{"z":0,"a":[1E5,-0.0]}}',
    ],
)
async def test_the_detail_is_delivered_byte_for_byte(emulator: Emulator, events: Any, detail: str) -> None:
    await create_active(emulator, events)
    await events.put_partner_events(Entries=[entry(Detail=detail)])
    (event,) = emulator.state.events()
    assert event.detail == detail.encode()
    assert b'"detail":' + detail.encode() in event.envelope()
    assert json.loads(event.envelope())["detail-type"] == "v2.users.{id}.presence"
