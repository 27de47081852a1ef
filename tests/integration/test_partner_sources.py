"""PartnerSources through aiobotocore on a real socket, against the emulator: every answer in our own terms."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forwarder.aws import AwsSession
from forwarder.emulator.faults import CallError, FaultRule, Operation
from forwarder.emulator.http import Emulator
from forwarder.emulator.sources import SourceState
from forwarder.errors import PutError
from forwarder.model import Destination, Reason
from forwarder.partner_sources import PartnerSources, SourceError

HERE = Destination("123456789012", "us-east-1", "aws.partner/example.com/org/crm")
ELSEWHERE = Destination("210987654321", "us-east-1", HERE.event_source_name)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(credentials={"test": "test"}) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_EVENTBRIDGE": emulator.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def session(environment: None) -> AsyncIterator[AwsSession]:
    session = AwsSession()
    yield session
    await session.close()


@pytest.fixture
def sources(session: AwsSession) -> PartnerSources:
    return PartnerSources(session)


async def test_create_look_delete_and_all_of_it_twice(sources: PartnerSources, emulator: Emulator) -> None:
    assert (await sources.look(HERE)).state == "DELETED"
    await sources.create(HERE)
    await sources.create(HERE)
    view = await sources.look(HERE)
    assert view.state == "PENDING"
    assert view.expires_at is not None
    assert emulator.state.set_source_state("us-east-1", HERE.event_source_name, SourceState.ACTIVE, 0.0)
    assert (await sources.look(HERE)).state == "ACTIVE"
    await sources.delete(HERE)
    await sources.delete(HERE)
    assert (await sources.look(HERE)).state == "DELETED"
    await sources.create(HERE)
    assert (await sources.look(HERE)).state == "PENDING"


async def test_the_same_name_in_another_region_is_another_source(sources: PartnerSources) -> None:
    await sources.create(HERE)
    there = Destination(HERE.account_id, "eu-central-1", HERE.event_source_name)
    assert (await sources.look(there)).state == "DELETED"
    await sources.create(there)
    assert (await sources.look(there)).state == "PENDING"


async def test_a_name_that_is_taken_for_another_account(sources: PartnerSources) -> None:
    await sources.create(ELSEWHERE)
    with pytest.raises(SourceError, match="already exists in us-east-1 for AWS account 210987654321") as caught:
        await sources.create(HERE)
    assert (caught.value.waiting_helps, caught.value.nothing_happened) == (False, True)
    assert (await sources.look(HERE)).state == "DELETED"
    await sources.delete(HERE)
    assert (await sources.look(ELSEWHERE)).state == "PENDING"


@pytest.mark.parametrize(
    ("code", "status", "words", "waiting_helps", "nothing_happened"),
    [
        ("ConcurrentModificationException", 400, "trying again", True, False),
        ("LimitExceededException", 400, "raise the quota", False, True),
        ("OperationDisabledException", 400, "choose another", False, True),
        ("AccessDeniedException", 400, "partner account", False, True),
        ("ExpiredTokenException", 400, "partner account", False, True),
        ("RequestTimeTooSkewed", 403, "clock", False, True),
        ("ThrottlingException", 400, "trying again", True, True),
        ("InternalException", 500, "trying again", True, False),
        ("ServiceUnavailable", 503, "trying again", True, False),
        ("SomethingNew", 400, "SomethingNew", False, False),
    ],
)
async def test_each_refusal_says_what_to_do(  # noqa: PLR0917  (pytest passes them by name)
    emulator: Emulator,
    sources: PartnerSources,
    code: str,
    status: int,
    words: str,
    waiting_helps: bool,
    nothing_happened: bool,
) -> None:
    emulator.faults.set(FaultRule(errors=(CallError(code=code, rate=1, status=status),)))
    for call in (sources.create, sources.delete, sources.look):
        with pytest.raises(SourceError, match=words) as caught:
            await call(HERE)
        assert code in caught.value.message
        assert (caught.value.waiting_helps, caught.value.nothing_happened) == (waiting_helps, nothing_happened)


async def test_an_answer_that_is_lost_may_have_happened(emulator: Emulator, sources: PartnerSources) -> None:
    emulator.faults.set(FaultRule(operation=Operation.CREATE, reset_after_rate=1))
    with pytest.raises(SourceError) as caught:
        await sources.create(HERE)
    assert (caught.value.waiting_helps, caught.value.nothing_happened) == (True, False)
    assert (await sources.look(HERE)).state == "PENDING"


async def test_an_endpoint_where_nobody_listens(emulator: Emulator, sources: PartnerSources) -> None:
    await emulator.stop()
    with pytest.raises(SourceError, match=emulator.url) as caught:
        await sources.create(HERE)
    assert (caught.value.waiting_helps, caught.value.nothing_happened) == (True, True)


async def test_wrong_keys_are_told_apart_from_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = AwsSession()
    with pytest.raises(SourceError, match="credentials of the AWS partner account"):
        await PartnerSources(wrong).create(HERE)
    await wrong.close()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    none = AwsSession()
    with pytest.raises(SourceError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
        await PartnerSources(none).create(HERE)
    with pytest.raises(PutError) as caught:
        await none.credentials()
    assert caught.value.reason is Reason.CREDENTIALS
    await none.close()


async def test_credentials_that_appear_later_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    session = AwsSession()
    with pytest.raises(PutError):
        await session.client("us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    await PartnerSources(session).create(HERE)
    await session.close()


async def test_the_session_has_one_client_a_region_and_resolves_endpoints(
    session: AwsSession, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await session.client("us-east-1") is await session.client("us-east-1")
    assert await session.endpoint("eu-west-1") == emulator.url
    assert await session.credentials() == ("test", "test", None)
    assert session.ca_bundle() is None
    monkeypatch.delenv("AWS_ENDPOINT_URL_EVENTBRIDGE")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ssl/ours.pem")
    real = AwsSession()
    assert await real.endpoint("cn-north-1") == "https://events.cn-north-1.amazonaws.com.cn"
    assert real.ca_bundle() == "/etc/ssl/ours.pem"
    await real.close()
    await real.close()


async def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    session = AwsSession()
    with pytest.raises(PutError, match=r"profile \(nope\) could not be found"):
        await session.credentials()
    await session.close()


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:4566", "http://", "http://host:99999", f"http://{'a' * 70}.example", "http://ho st/", "ftp://x"],
)
async def test_an_endpoint_that_is_none_is_trouble_and_its_setting_is_named(
    session: AwsSession, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", endpoint)
    for _ in range(2):
        with pytest.raises(SourceError, match="see AWS_ENDPOINT_URL_EVENTBRIDGE") as caught:
            await PartnerSources(session).look(HERE)
        assert "AWS_ACCESS_KEY_ID" not in str(caught.value)
        with pytest.raises(PutError) as refused:
            await session.endpoint("us-east-1")
        assert refused.value.reason is Reason.CONNECTION
