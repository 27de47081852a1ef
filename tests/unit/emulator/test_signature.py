"""The verifier against botocore's own signer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from unittest import mock

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from forwarder.emulator.signature import HttpRequest, Verifier, default_credentials, event_bridge_regions
from forwarder.emulator.wire import ApiError

NOW = datetime(2026, 3, 21, 1, 9, 55, tzinfo=UTC).timestamp()
REGIONS = frozenset({"us-east-1", "eu-west-1"})
SECRET = "wJalrXUtnFEMI"
VERIFIER = Verifier({"test": SECRET}, REGIONS)


def signed(
    *,
    target: str = "/",
    body: bytes = b"{}",
    secret: str = SECRET,
    key: str = "test",
    token: str | None = None,
    region: str = "us-east-1",
    service: str = "events",
    at: float = NOW,
    headers: Mapping[str, str] | None = None,
) -> HttpRequest:  # fmt: skip  (a table of what a request can differ in)
    request = AWSRequest("POST", f"http://127.0.0.1:8080{target}", headers=dict(headers or {}), data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(at, UTC)):
        SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
    sent = CIMultiDict(request.headers.items())
    sent["Host"] = "127.0.0.1:8080"
    return HttpRequest("POST", target, sent, body)


def refusal(request: HttpRequest, now: float = NOW) -> ApiError:
    with pytest.raises(ApiError) as caught:
        VERIFIER.verify(request, now)
    assert caught.value.status == 400
    return caught.value


@given(
    body=st.binary(max_size=100),
    region=st.sampled_from(sorted(REGIONS)),
    token=st.none() | st.text("abc/+=", min_size=1),
    extra=st.text("ab \t", max_size=8).filter(str.strip),
    query=st.dictionaries(st.text("ab-_", min_size=1, max_size=3), st.text("cd~.", max_size=3), max_size=3),
)
def test_botocores_signature_is_accepted(
    body: bytes, region: str, token: str | None, extra: str, query: dict[str, str]
) -> None:
    target = "/?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "/"
    request = signed(target=target, body=body, region=region, token=token, headers={"X-Extra": extra})
    assert VERIFIER.verify(request, NOW) == region


def test_a_wrong_secret_is_an_invalid_signature() -> None:
    error = refusal(signed(secret="another"))
    assert error.code == "InvalidSignatureException"
    assert error.message.startswith("The request signature we calculated does not match")


def test_a_tampered_body_header_or_target_is_an_invalid_signature() -> None:
    good = signed(headers={"X-Amz-Target": "AWSEvents.ListPartnerEventSources"})
    headers = CIMultiDict(good.headers)
    headers["X-Amz-Target"] = "AWSEvents.DeletePartnerEventSource"
    tampered: list[dict[str, object]] = [{"body": b"{} "}, {"headers": headers}, {"target": "/?a=b"}, {"method": "PUT"}]
    for change in tampered:
        assert refusal(msgspec.structs.replace(good, **change)).code == "InvalidSignatureException"


def test_a_scope_that_was_changed_after_signing_is_an_invalid_signature() -> None:
    good = signed()
    headers = CIMultiDict(good.headers)
    headers["Authorization"] = good.headers["Authorization"].replace("us-east-1", "eu-west-1")
    error = refusal(msgspec.structs.replace(good, headers=headers))
    assert error.code == "InvalidSignatureException"
    assert "does not match" in error.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "mars-north-1"}, "valid region, not 'mars-north-1'"),
        ({"service": "sqs"}, "correct service: 'events'"),
    ],
)
def test_the_scope_is_checked(change: dict[str, str], words: str) -> None:
    error = refusal(signed(**change))  # type: ignore[arg-type]  # one table for two arguments
    assert error.code == "InvalidSignatureException"
    assert words in error.message


def test_an_unknown_access_key() -> None:
    assert refusal(signed(key="AKIAUNKNOWN")).code == "UnrecognizedClientException"


@pytest.mark.parametrize(("seconds", "words"), [(-301, "Signature expired"), (301, "Signature not yet current")])
def test_a_clock_more_than_five_minutes_off_is_refused_as_aws_does(seconds: int, words: str) -> None:
    error = refusal(signed(at=NOW + seconds))
    assert error.code == "InvalidSignatureException"
    assert error.message.startswith(words)
    assert " 5 min.)" in error.message


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_five_minutes_off_will_do(seconds: int) -> None:
    assert VERIFIER.verify(signed(at=NOW + seconds), NOW) == "us-east-1"


def test_no_authorization_at_all() -> None:
    assert refusal(HttpRequest("POST", "/", {}, b"")).code == "MissingAuthenticationTokenException"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", "algorithm"),
        ("AWS4-HMAC-SHA256 ", "Bearer ", "algorithm"),
        ("Credential=", "Key=", "'Credential'"),
        (", Signature=", ", Sig=", "'Signature'"),
        ("SignedHeaders=", "Headers=", "'SignedHeaders'"),
        ("/aws4_request", "", "exactly 5"),
        ("test/", "test/x/", "exactly 5"),
    ],
)
def test_a_mangled_authorization_is_incomplete(old: str, new: str, words: str) -> None:
    good = signed()
    headers = CIMultiDict(good.headers)
    headers["Authorization"] = good.headers["Authorization"].replace(old, new)
    error = refusal(msgspec.structs.replace(good, headers=headers))
    assert error.code == "IncompleteSignatureException"
    assert words in error.message


@pytest.mark.parametrize("stamp", [None, "yesterday", "2026-03-21T01:09:55Z"])
def test_a_date_that_is_missing_or_unreadable_is_incomplete(stamp: str | None) -> None:
    good = signed()
    headers = CIMultiDict(good.headers)
    del headers["X-Amz-Date"]
    if stamp:
        headers["X-Amz-Date"] = stamp
    assert refusal(msgspec.structs.replace(good, headers=headers)).code == "IncompleteSignatureException"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("/20260321/", "/20260322/", "'20260322' != '20260321'"),
        ("aws4_request", "aws5", "valid terminator"),
        ("host;", "", "must be a 'SignedHeader'"),
    ],
)
def test_the_rest_of_the_authorization_is_checked(old: str, new: str, words: str) -> None:
    good = signed()
    headers = CIMultiDict(good.headers)
    headers["Authorization"] = good.headers["Authorization"].replace(old, new)
    error = refusal(msgspec.structs.replace(good, headers=headers))
    assert error.code == "InvalidSignatureException"
    assert words in error.message


@given(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii")))
def test_no_header_breaks_the_verifier(authorization: str, stamp: str) -> None:
    for start in ("", "AWS4-HMAC-SHA256 Credential=test/20260321/us-east-1/events/aws4_request, "):
        refusal(HttpRequest("POST", "/", {"Authorization": start + authorization, "X-Amz-Date": stamp}, b""))


def test_default_credentials() -> None:
    assert default_credentials({}) == {"test": "test"}
    assert default_credentials({"AWS_ACCESS_KEY_ID": "a"}) == {"test": "test"}
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert default_credentials(environ) == {"test": "test", "a": "b"}


def test_regions_are_of_all_partitions() -> None:
    assert {"us-east-1", "cn-north-1", "us-gov-west-1"} <= event_bridge_regions()
