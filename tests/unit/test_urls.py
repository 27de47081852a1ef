"""Which URLs a connection can be tried to, and that the refusals quote nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from forwarder.urls import parse_url

SCHEMES = ("ws", "wss")
LONG = "a" * 63


@pytest.mark.parametrize(
    "url",
    [
        "ws://host",
        "wss://host:65535/path?query",
        "ws://[::1]:1/",
        "ws://me:p%40ss@host",
        f"ws://{LONG}.example.",
        "ws://bücher.example",
    ],
)
def test_what_can_be_tried(url: str) -> None:
    assert parse_url(url, SCHEMES).geturl() == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "form"),
        ("host:80", "form"),
        ("http://host", "form"),
        ("ws://", "form"),
        ("ws://:80", "form"),
        ("ws://[::1", "form"),
        ("ws://me:hush@ho st/", "form"),
        ("ws://host/\n", "form"),
        ("ws://me:hush@host:99999/", "port"),
        ("ws://host:-1/", "port"),
        ("ws://host:0/", "port"),
        ("ws://host:hush/", "port"),
        (f"ws://a{LONG}/", "host name"),
        ("ws://host..example/", "host name"),
        (f"ws://{'.'.join([LONG] * 5)}/", "host name"),
        ("ws://host/#frag", "#"),
    ],
)
def test_what_cannot(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_url(url, SCHEMES)
    assert "hush" not in str(caught.value)


@given(st.from_regex(r"wss?://([a-zA-Z0-9.\[\]:@%-]|\s|é){0,80}([/?#].{0,9})?", fullmatch=True))
def test_nothing_else_is_raised_and_what_is_taken_the_client_takes(url: str) -> None:
    try:
        parts = parse_url(url, SCHEMES)
    except ValueError:
        return
    if parts.username is None:
        assert parse_uri(url).host
