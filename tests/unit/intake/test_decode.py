"""Decoding: what is added is added, all else is the bytes that came, and no input raises."""

import json
import re
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forwarder.intake.base import MAX_PAYLOAD_BYTES, Message
from forwarder.intake.decode import Malformed, MalformedReason, decode
from forwarder.model import Notification

RECEIVED_AT = 1774055395.612
TOPIC = "v2.users.5f2a.presence"


def take(payload: bytes, topic: str | None = None, event_id: bool = True) -> Notification:
    result = decode(Message(topic, payload), RECEIVED_AT, event_id)
    assert isinstance(result, Notification), result
    return result


def refused(payload: bytes, topic: str | None = None) -> Malformed:
    result = decode(Message(topic, payload), RECEIVED_AT, True)
    assert isinstance(result, Malformed), result
    return result


def the_id(topic: str, payload: bytes) -> str:
    return blake2b(topic.encode() + b"\0" + payload, digest_size=16).hexdigest()


class TestWhatIsAdded:
    def test_event_id_goes_into_metadata_and_timestamp_to_the_end(self) -> None:
        payload = b'{"topicName":"t","eventBody":{"n":1.0},"metadata":{"CorrelationId":"c"}}'
        notification = take(payload)
        assert notification == Notification(
            id=the_id("t", payload),
            topic="t",
            detail=(
                b'{"topicName":"t","eventBody":{"n":1.0},"metadata":{"CorrelationId":"c","EventId":"%s"}'
                b',"timestamp":"2026-03-21T01:09:55.612Z"}'
            )
            % the_id("t", payload).encode(),
            time=1774055395,
            received_at=RECEIVED_AT,
        )

    def test_nothing_is_added_that_is_there(self) -> None:
        payload = b'{"topicName":"t","metadata":{"EventId":null},"timestamp":null}'
        assert take(payload).detail == payload

    def test_an_escaped_key_is_there_too(self) -> None:
        payload = rb'{"topicName":"t","metadata":{"Event\u0049d":"mine"},"time\u0073tamp":"2026-03-21T01:09:55Z"}'
        assert take(payload).detail == payload

    def test_an_event_id_deeper_down_is_another_one(self) -> None:
        payload = b'{"topicName":"t","metadata":{"x":{"EventId":1}},"timestamp":0}'
        assert json.loads(take(payload).detail)["metadata"]["EventId"] == the_id("t", payload)

    def test_without_event_id(self) -> None:
        payload = b'{"topicName":"t","metadata":{}, "timestamp":0}'
        assert take(payload, event_id=False).detail == payload

    @pytest.mark.parametrize("metadata", [b"null", b'"x"', b"[]", b"[{}]", b"1e400", rb'"{\"a\":1}"'])
    def test_metadata_that_is_no_object_is_left_alone(self, metadata: bytes) -> None:
        payload = b'{"topicName":"t","metadata":%s,"timestamp":0}' % metadata
        assert take(payload).detail == payload

    def test_into_empty_objects(self) -> None:
        identity = the_id("t", b" { } ").encode()
        expected = b' { "metadata":{"EventId":"%s"},"timestamp":"2026-03-21T01:09:55.612Z"}' % identity
        assert take(b" { } ", topic="t").detail == expected
        detail = take(b'{"topicName":"t","metadata":{ \n},"timestamp":0}').detail
        assert re.search(rb'"metadata":\{ \n"EventId":"[0-9a-f]{32}"\},', detail)

    def test_only_trailing_white_space_goes(self) -> None:
        assert take(b'\r\n\t {"topicName" : "t" ,"timestamp":0 }\r\n\t ', event_id=False).detail == (
            b'\r\n\t {"topicName" : "t" ,"timestamp":0 }'
        )


class TestTopic:
    def test_the_envelope_wins_over_the_transport(self) -> None:
        assert take(b'{"topicName":"inner"}', topic="outer").topic == "inner"

    def test_the_transport_stands_in_and_is_not_written_into_the_detail(self) -> None:
        notification = take(b'{"eventBody":{}}', topic="outer")
        assert notification.topic == "outer"
        assert b"outer" not in notification.detail

    def test_the_last_of_duplicates_and_escapes(self) -> None:
        assert take(rb'{"topicName":1,"topicName":"v2.\u00e9\ud83d\ude00"}').topic == "v2.é😀"

    @pytest.mark.parametrize(
        "topic", ["", "a*", "v2.+.x", "v2.#", "a\0b", "a\nb", "a\x7fb", "a\x9fb", "x" * 1001, "\ud800"]
    )
    def test_bad_topics(self, topic: str) -> None:
        for bad in (
            refused(json.dumps({"topicName": topic}).encode()),
            refused(b"{}", topic=topic),
        ):
            assert bad.reason is MalformedReason.BAD_TOPIC
            assert bad.detail.isprintable()
            assert len(bad.detail) < 300

    @pytest.mark.parametrize("topic", [b"null", b"1", b"1e400", b'["t"]', b"true"])
    def test_a_topic_that_is_no_string(self, topic: bytes) -> None:
        assert refused(b'{"topicName":%s}' % topic, topic="outer").reason is MalformedReason.BAD_TOPIC

    def test_no_topic_at_all(self) -> None:
        assert refused(b"{}").reason is MalformedReason.NO_TOPIC


class TestTime:
    @pytest.mark.parametrize(
        ("timestamp", "time"),
        [
            (b'"2026-03-21T01:09:55.999Z"', 1774055395),
            (b'"2026-03-21T02:09:55.999+01:00"', 1774055395),
            (b'"2026-03-21T01:09:55"', 1774055395),
            (rb'"2026\u002d03-21T01:09:55Z"', 1774055395),
            (b"1774055395999", 1774055395),
            (b"1774055395999.5", 1774055395),
        ],
    )
    def test_from_the_timestamp(self, timestamp: bytes, time: int) -> None:
        assert decode_time(timestamp) == time

    @pytest.mark.parametrize(
        "timestamp",
        [
            b'"soon"',
            b'""',
            rb'"\ud800"',
            b"null",
            b"true",
            b"{}",
            b"-1",
            b"1e400",
            b"9" * 5000,
            b"1e30",
            b'"0001-01-01T00:00:00+23:59"',
        ],
    )
    def test_from_the_receipt_where_it_says_nothing_usable(self, timestamp: bytes) -> None:
        assert decode_time(timestamp) == int(RECEIVED_AT)


def decode_time(timestamp: bytes) -> int:
    payload = b'{"topicName":"t","timestamp":%s}' % timestamp
    notification = take(payload, event_id=False)
    assert notification.detail == payload
    return notification.time


class TestMalformed:
    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (b"", MalformedReason.EMPTY),
            (b" \n", MalformedReason.EMPTY),
            (b"x" * (MAX_PAYLOAD_BYTES + 1), MalformedReason.TOO_LARGE),
            (b'{"topicName":"t","eventBody":"\xff"}', MalformedReason.NOT_UTF8),
            (b'{"topicName":"t","eventBody":"\xed\xa0\x80"}', MalformedReason.NOT_UTF8),
            (b'{"topicName":"t"', MalformedReason.NOT_JSON),
            (b'{"topicName":"t"} {}', MalformedReason.NOT_JSON),
            (b'{"topicName":"t","x":NaN}', MalformedReason.NOT_JSON),
            (b'{"topicName":"t","x":-Infinity}', MalformedReason.NOT_JSON),
            (b'{"topicName":"t","x":01}', MalformedReason.NOT_JSON),
            (b"\xef\xbb\xbf{}", MalformedReason.NOT_JSON),
            (b'{"topicName":"t","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", MalformedReason.TOO_DEEP),
            (b'{"topicName":"t","y":"\\ud800","x":' + b'{"a":' * 9_999 + b"1" + b"}" * 9_999 + b"}", "too_deep"),
            (b'[{"topicName":"t"}]', MalformedReason.NOT_AN_OBJECT),
            (b"null", MalformedReason.NOT_AN_OBJECT),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_says_why(self, payload: bytes, reason: MalformedReason) -> None:
        bad = refused(payload)
        assert bad.reason == reason
        assert bad.detail

    def test_what_was_not_kept_of_it_counts_too(self) -> None:
        bad = decode(Message("t", b"", MAX_PAYLOAD_BYTES + 1), 0, True)
        assert isinstance(bad, Malformed)
        assert bad.reason is MalformedReason.TOO_LARGE
        assert str(MAX_PAYLOAD_BYTES + 1) in bad.detail


# --- Properties, over JSON text as odd as the grammar allows (RFC 8259). ---

spaces = st.text(" \t\n\r", max_size=2)
numbers = st.sampled_from(["0", "-0", "1.0", "1e400", "-1E-400", "123456789012345678901234567890", "2.50"])
plain_strings = st.text(max_size=8).map(json.dumps) | st.text(max_size=8).map(
    lambda s: json.dumps(s, ensure_ascii=False)
)
odd_strings = st.sampled_from(
    [r'"\ud800"', r'"\/\b"', r'"\"metadata\":{}"', r'",\"metadata\":{"', '"}"', '"]{"', r'"\\"', '"{\\"a\\":1}"']
)
strings = (plain_strings | odd_strings).filter(lambda s: not re.search("[\ud800-\udfff]", s))
keys = strings | st.sampled_from(['"metadata"', r'"met\u0061data"', '"EventId"', '"timestamp"', r'"x\"metadata"'])
scalars = st.sampled_from(["null", "true", "false"]) | numbers | strings


@st.composite
def json_objects(draw: st.DrawFn, values: st.SearchStrategy[str], key: st.SearchStrategy[str] = keys) -> str:
    members = draw(st.lists(st.tuples(spaces, key, spaces, spaces, values, spaces), max_size=4))
    return "{" + ",".join(f"{a}{k}{b}:{c}{v}{d}" for a, k, b, c, v, d in members) + draw(spaces) + "}"


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(spaces, values), max_size=3).map(lambda vs: "[" + ",".join(a + v for a, v in vs) + "]")


json_values = st.recursive(scalars, lambda inner: arrays(inner) | json_objects(inner), max_leaves=8)
small_metadata = st.sampled_from(["{}", '{"a":1}', '{ "a" : 1 }', '{"}":"{"}', '{"EventId":1}', "[]", '{"x":{"a":1}}'])


@st.composite
def notifications(draw: st.DrawFn) -> bytes:
    """An object in which the metadata's text, and keys called metadata, turn up in many places."""
    members = draw(
        st.lists(
            st.tuples(keys, json_values)
            | st.tuples(
                st.just('"metadata"') | st.just(r'"met\u0061data"') | keys, small_metadata | json_objects(scalars)
            )
            | st.tuples(st.just('"timestamp"'), scalars),
            max_size=5,
        )
    )
    parts = [draw(spaces) + key + draw(spaces) + ":" + draw(spaces) + value + draw(spaces) for key, value in members]
    text = draw(spaces) + "{" + ",".join(parts) + ("" if parts else draw(spaces)) + "}" + draw(spaces)
    return text.encode()


def parse(payload: bytes) -> Any:
    return json.loads(payload, parse_int=str, parse_float=str)


@given(notifications(), st.booleans())
@example(b'{"metadata":{"a":1},"x":{"metadata":{"a":1}}}', True)
@example(b'{"x":{"metadata":{"a":1}},"metadata":{"a":1}}', True)
@example(rb'{"metadata":{},"x\"metadata":{}}', True)
@example(rb'{"metadata":{"b":1},"met\u0061data":{"a":1}}', True)
@example(b'{"metadata":{"a":1},"metadata":5}', True)
@example(b'{"metadata":{"a":1},"metadata" : {"a":1},"x":[1]}', True)
def test_equal_but_for_what_was_added(payload: bytes, event_id: bool) -> None:
    before = parse(payload)
    notification = take(payload, topic=TOPIC if "topicName" not in before else None, event_id=event_id)
    after = parse(notification.detail)

    expected = json.loads(json.dumps(before))
    expected.setdefault("timestamp", "2026-03-21T01:09:55.612Z")
    if event_id:
        metadata = expected.setdefault("metadata", {})
        if isinstance(metadata, dict):
            metadata.setdefault("EventId", notification.id)
    assert after == expected
    assert notification.id == the_id(TOPIC, payload)

    member = b',?"EventId":"%b"' if "metadata" in before else rb',?"metadata":\{"EventId":"%b"\}'
    added = member % notification.id.encode() + b'|,?"timestamp":"2026-03-21T01:09:55.612Z"'
    assert re.sub(added, b"", notification.detail) == payload.rstrip(b" \t\n\r")


@given(notifications())
def test_a_redelivery_decodes_to_the_same_whenever_it_comes(payload: bytes) -> None:
    first = decode(Message(TOPIC, payload), RECEIVED_AT, True)
    second = decode(Message(TOPIC, payload), RECEIVED_AT + 3600, True)
    assert isinstance(first, Notification)
    assert isinstance(second, Notification)
    assert first.id == second.id


@given(json_values | st.text(), st.none() | st.text())
def test_takes_all_objects_with_a_topic_and_nothing_else(text: str, topic: str | None) -> None:
    payload = text.encode(errors="replace")
    result = decode(Message(topic, payload), RECEIVED_AT, True)
    try:
        value = json.loads(payload, parse_int=str, parse_float=str)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        assert isinstance(result, Malformed)
    elif isinstance(result, Malformed):
        assert result.reason in {MalformedReason.NO_TOPIC, MalformedReason.BAD_TOPIC}


@given(
    st.binary() | notifications().flatmap(lambda p: st.integers(0, len(p)).map(lambda i: p[:i] + b"\xff" + p[i + 1 :]))
)
def test_never_raises(payload: bytes) -> None:
    assert isinstance(decode(Message(TOPIC, payload), RECEIVED_AT, True), Notification | Malformed)
