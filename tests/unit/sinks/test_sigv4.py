"""Our signatures against botocore's, byte for byte."""

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from forwarder.sinks.sigv4 import parse_endpoint, sign

KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutPartnerEvents"}

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
label = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)
host_names = st.lists(label, min_size=1, max_size=4).map(".".join) | st.sampled_from(
    ["127.0.0.1", "[::1]", "[2001:db8::1]"]
)
ports = st.just("") | (st.sampled_from([80, 443]) | st.integers(1, 65535)).map(":{}".format)
paths = st.lists(st.sampled_from(["", "a", ".", "..", "A~b", "x%20y", "k=v", "a+b", "a:b@c"]), max_size=5).map(
    lambda segments: "".join("/" + segment for segment in segments)
)


def by_botocore(url: str, region: str, body: bytes, keys: ReadOnlyCredentials, now: float) -> dict[str, str]:
    request = AWSRequest("POST", url, headers=dict(HEADERS), data=body)
    moment = datetime.fromtimestamp(now, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(Credentials(*keys), "events", region).add_auth(request)
    return dict(request.headers.items())


@given(
    url=st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https"]), host_names, ports, paths),
    region=label,
    keys=st.builds(ReadOnlyCredentials, printable, printable, st.none() | printable),
    body=st.binary(max_size=200),
    now=st.integers(0, 4_102_444_800),
)
def test_every_header_is_botocores(url: str, region: str, keys: ReadOnlyCredentials, body: bytes, now: int) -> None:
    ours = sign(parse_endpoint(url), HEADERS, body, region=region, service="events", credentials=keys, now=now)
    theirs = by_botocore(url, region, body, keys, now)
    assert ours.pop("Host") == parse_endpoint(url).host
    assert ours == theirs


@given(value=st.text(st.sampled_from("ab \t"), max_size=12).filter(lambda text: text.strip()))
def test_white_space_in_header_values_is_folded_as_botocore_does(value: str) -> None:
    request = AWSRequest("POST", "https://h/", headers=HEADERS | {"X-Extra": value}, data=b"{}")
    with mock.patch("botocore.auth.get_current_datetime", return_value=datetime(2026, 3, 1, tzinfo=UTC)):
        SigV4Auth(Credentials(*KEYS), "events", "eu-west-1").add_auth(request)
    now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    ours = sign(
        parse_endpoint("https://h/"),
        HEADERS | {"X-Extra": value},
        b"{}",
        region="eu-west-1",
        service="events",
        credentials=KEYS,
        now=now,
    )
    assert ours["Authorization"] == request.headers["Authorization"]


def test_the_signing_key_follows_date_region_and_secret() -> None:
    """The derived key is cached; nothing it is derived from may be forgotten in the cache's key."""
    day = 86_400
    endpoint = parse_endpoint("https://h/")
    cases = [
        (region, KEYS._replace(secret_key=secret), now)
        for region in ("us-east-1", "eu-west-1")
        for secret in ("one", "two")
        for now in (day * 20_000, day * 20_001)
    ]
    for region, keys, now in cases * 2:
        ours = sign(endpoint, HEADERS, b"{}", region=region, service="events", credentials=keys, now=now)
        assert ours["Authorization"] == by_botocore("https://h/", region, b"{}", keys, now)["Authorization"]


@pytest.mark.parametrize(
    ("url", "sent", "host"),
    [
        (
            "https://Events.US-east-1.amazonaws.com",
            "https://events.us-east-1.amazonaws.com/",
            "events.us-east-1.amazonaws.com",
        ),
        ("http://localhost:4566/", "http://localhost:4566/", "localhost:4566"),
        ("https://h:443/a//b?q=1#f", "https://h/a//b", "h"),
        ("http://user:secret@h:443", "http://h:443/", "h:443"),
        ("http://[::1]:80/", "http://[::1]/", "[::1]"),
    ],
)
def test_an_endpoint_is_taken_apart(url: str, sent: str, host: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.url, endpoint.host) == (sent, host)


@pytest.mark.parametrize(
    "url", ["", "localhost:4566", "ftp://h/", "https://", "http://h:port/", "http://h/a b", "http://hé/"]
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_endpoint(url)
