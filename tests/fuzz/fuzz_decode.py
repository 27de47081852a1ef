"""From a frame to a notification: the same verdict as the standard library's parser, and nothing changed but by adding.

The first byte chooses whether ids are added and whether the transport names a topic; the rest is the frame.
"""

import json
import re
from typing import Any, Never

from forwarder.intake.base import Message
from forwarder.intake.decode import Malformed, MalformedReason, decode
from forwarder.intake.websocket import _control_topic

RECEIVED_AT = 1774055395.612
TIMESTAMP = "2026-03-21T01:09:55.612Z"
TRANSPORT_TOPIC = "v2.users.5f2a.presence"
ABOUT_THE_TOPIC = {MalformedReason.NO_TOPIC, MalformedReason.BAD_TOPIC}


def check(data: bytes) -> None:
    event_id, topic = bool(data[:1] and data[0] & 1), TRANSPORT_TOPIC if data[:1] and data[0] & 2 else None
    payload = data[1:]
    _control_topic(payload)
    result = decode(Message(topic, payload), RECEIVED_AT, event_id)
    try:
        before = parse(payload)
    except RecursionError:
        return
    except ValueError:
        assert isinstance(result, Malformed), result
        return
    if not isinstance(before, dict):
        assert isinstance(result, Malformed), result
    elif isinstance(result, Malformed):
        assert result.reason is MalformedReason.TOO_DEEP or result.reason in ABOUT_THE_TOPIC, result
        assert result.reason is not MalformedReason.NO_TOPIC or (topic is None and "topicName" not in before)
    else:
        assert result.topic == before.get("topicName", topic)
        assert 0 <= result.time < 253_402_300_800
        assert decode(Message(topic, payload), RECEIVED_AT + 60, event_id).id == result.id  # type: ignore[union-attr]  # else raise
        check_parsed(before, result.detail, result.id if event_id else None)
        check_bytes(payload, before, result.detail, result.id)


def check_parsed(before: dict[str, Any], detail: bytes, event_id: str | None) -> None:
    """Parsed, the detail is what came and what was added."""
    expected = {"timestamp": TIMESTAMP} | before
    if event_id is not None and isinstance(expected.setdefault("metadata", {}), dict):
        expected["metadata"] = {"EventId": event_id} | expected["metadata"]
    assert parse(detail) == expected


def check_bytes(payload: bytes, before: dict[str, Any], detail: bytes, event_id: str) -> None:
    """Cut out what was added, and the bytes are those that came."""
    member = b',?"EventId":"%b"' if "metadata" in before else rb',?"metadata":\{"EventId":"%b"\}'
    added = member % event_id.encode() + b'|,?"timestamp":"%b"' % TIMESTAMP.encode()
    kept = payload.rstrip(b" \t\n\r")
    assert detail == kept or re.sub(added, b"", detail) == re.sub(added, b"", kept)


def parse(payload: bytes) -> Any:
    """As RFC 8259 has it, numbers as they are written."""
    return json.loads(payload.decode(), parse_int=str, parse_float=str, parse_constant=_refuse)


def _refuse(name: str) -> Never:
    raise ValueError(name)
