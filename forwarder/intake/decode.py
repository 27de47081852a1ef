"""From a message to a notification: read the envelope, touch nothing else.

Only the envelope is parsed; `eventBody` is skipped over as bytes. What is added is spliced into the bytes received:
numbers such as `1.0` or `1e400`, escapes, key order, duplicate keys and white space reach the destination unchanged.
Pure: no I/O and no clock.
"""

import functools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Never

import msgspec

from forwarder.intake.base import MAX_PAYLOAD_BYTES, Message
from forwarder.model import Notification

_WHITESPACE = b" \t\n\r"  # RFC 8259, section 2
_LATEST = 253_402_300_799  # the last second of the year 9999, the last that ISO 8601 can write in four digits

# A topic is text without control characters, without halves of a surrogate pair and without MQTT or filter wildcards.
_TOPIC = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff*+#]{1,1000}")

# A whole string, or one structural character. On valid JSON nothing else can contain any of these. The quantifiers are
# possessive: the scan is linear however long the strings are.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}:,]', re.DOTALL)


class MalformedReason(StrEnum):
    """Why a message is not a notification."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    NO_TOPIC = "no_topic"
    BAD_TOPIC = "bad_topic"


class Malformed(msgspec.Struct, frozen=True):
    """A message that is not a notification: why, and a sentence for the log that quotes nothing of the body."""

    reason: MalformedReason
    detail: str


class _Envelope(msgspec.Struct, gc=False):
    """What is read of a notification. An empty Raw stands for a key that is absent."""

    topic: str | msgspec.UnsetType = msgspec.field(name="topicName", default=msgspec.UNSET)
    metadata: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    timestamp: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class _MalformedError(Exception):
    """Carries a Malformed out of the slow path."""

    def __init__(self, reason: MalformedReason, detail: str) -> None:
        super().__init__(detail)
        self.malformed = Malformed(reason, detail)


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def decode(message: Message, received_at: float, event_id: bool) -> Notification | Malformed:
    """The notification that a message holds, as it will be delivered. Never raises, whatever the bytes.

    The envelope's `topicName` is the topic; where it is absent, the transport's topic is. The id is a hash of topic and
    payload, so that a redelivery has the same one. Where `timestamp` is missing it is added from `received_at` (epoch
    seconds). With `event_id`, `metadata.EventId` is added, unless there is one or `metadata` is no object.
    """
    payload = message.payload
    if len(payload) > MAX_PAYLOAD_BYTES or message.left_out:
        return Malformed(MalformedReason.TOO_LARGE, f"{message.size} bytes; at most {MAX_PAYLOAD_BYTES} are taken")
    try:
        if not payload.isascii():
            payload.decode()  # the JSON parser skips over strings without looking at their encoding
        try:
            envelope = _decode_envelope(payload)
        except msgspec.DecodeError:
            envelope = _decode_tolerantly(payload)
        topic = message.topic if envelope.topic is msgspec.UNSET else envelope.topic
        if topic is None or not _TOPIC.fullmatch(topic):
            return _bad_topic(topic)
        digest = blake2b(topic.encode() + b"\0" + payload, digest_size=16).hexdigest()
        detail = payload.rstrip(_WHITESPACE)
        if event_id:
            detail = _with_event_id(detail, bytes(envelope.metadata), digest)
        timestamp = bytes(envelope.timestamp)
        if timestamp:
            time = _event_time(timestamp)
        else:
            time = None
            detail = _insert(detail, len(detail) - 1, b'"timestamp":"%b"' % _iso(received_at))
    except _MalformedError as error:
        return error.malformed
    except UnicodeDecodeError as error:
        return Malformed(MalformedReason.NOT_UTF8, f"invalid UTF-8 at byte {error.start}")
    except RecursionError:
        return Malformed(MalformedReason.TOO_DEEP, "the JSON is nested too deeply")
    return Notification(digest, topic, detail, int(received_at) if time is None else time, received_at)


def _bad_topic(topic: str | None) -> Malformed:
    if topic is None:
        return Malformed(MalformedReason.NO_TOPIC, "there is no topicName, and the transport names no topic")
    shown = ascii(topic if len(topic) <= 100 else topic[:100] + "…")
    return Malformed(
        MalformedReason.BAD_TOPIC,
        f"the topic {shown} is empty, longer than 1000 characters, or holds a wildcard or a control character",
    )


def _decode_tolerantly(payload: bytes) -> _Envelope:
    """The envelope of JSON that msgspec refuses: lone surrogate escapes are within JSON's grammar (RFC 8259, section
    8.2). Also finds out what is wrong with what is no notification.

    Raises:
        _MalformedError: it is not a JSON object.
    """
    if not payload.strip(_WHITESPACE):
        raise _MalformedError(MalformedReason.EMPTY, "the payload is empty")
    try:
        value = json.loads(payload.decode(), parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _MalformedError(MalformedReason.NOT_JSON, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _MalformedError(MalformedReason.NOT_AN_OBJECT, "the JSON is not an object")
    raw = {key: payload[start:end].strip(_WHITESPACE) for key, start, end in _members(payload)}
    topic: Any = value.get("topicName", msgspec.UNSET)
    if topic is not msgspec.UNSET and not raw["topicName"].startswith(b'"'):
        raise _MalformedError(MalformedReason.BAD_TOPIC, "topicName is not a string")
    return _Envelope(topic, msgspec.Raw(raw.get("metadata", b"")), msgspec.Raw(raw.get("timestamp", b"")))


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _event_time(timestamp: bytes) -> int | None:
    """The whole epoch seconds of a timestamp: an ISO 8601 string (UTC unless it says otherwise) or a number of epoch
    milliseconds. None where it is neither."""
    if timestamp[:1] not in b'"-0123456789':
        return None
    try:
        value = msgspec.json.decode(timestamp)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        elif isinstance(value, int | float):
            seconds = value / 1000
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return int(seconds) if 0 <= seconds <= _LATEST else None


@functools.lru_cache(maxsize=4)  # a batch shares one time of receipt
def _iso(received_at: float) -> bytes:
    return datetime.fromtimestamp(received_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _with_event_id(detail: bytes, metadata: bytes, event_id: str) -> bytes:
    """The object with `metadata.EventId` added, unless there is one or `metadata` is no object."""
    member = b'"EventId":"%b"' % event_id.encode()
    if not metadata:
        return _insert(detail, len(detail) - 1, b'"metadata":{%b}' % member)
    if not metadata.startswith(b"{") or _has_event_id(metadata):
        return detail
    return _insert(detail, _offset_of_metadata(detail, metadata) + len(metadata) - 1, member)


def _insert(text: bytes, brace: int, member: bytes) -> bytes:
    """The text with a member put before the brace that closes an object."""
    head = text[:brace]
    comma = b"" if head.rstrip(_WHITESPACE).endswith(b"{") else b","
    return b"".join((head, comma, member, text[brace:]))


def _has_event_id(metadata: bytes) -> bool:
    if b"EventId" not in metadata and b"\\" not in metadata:
        return False
    return any(key == "EventId" for key, _, _ in _members(metadata))


def _offset_of_metadata(detail: bytes, metadata: bytes) -> int:
    """Where the value of the last top-level `metadata` key starts."""
    start = detail.rfind(metadata)
    if _is_top_level_metadata(detail, start, start + len(metadata)) or detail.find(metadata) == start:
        return start
    *_, last = (start for key, start, _ in _members(detail) if key == "metadata")
    return detail.index(b"{", last)


def _is_top_level_metadata(detail: bytes, start: int, end: int) -> bool:
    """Whether the object at start:end is provably the value of a top-level `metadata` key, seen from its end alone.

    It is the value of a `metadata` key if `"metadata":` stands before it, and a comma or a brace before that: in valid
    JSON that quote can neither be escaped nor close a string. And it is at the top level if only one closing bracket
    follows: there are at least as many as levels are open, wherever else they may stand.
    """
    key = detail.rfind(b'"metadata"', 0, start)
    if key < 0 or detail[key + 10 : start].strip(_WHITESPACE) != b":":
        return False
    before, after = detail[:key].rstrip(_WHITESPACE), detail[end:]
    return before.endswith((b",", b"{")) and after.count(b"}") == 1 and b"]" not in after


def _members(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Key, and start and end of the value with the white space around it, for every member of a valid JSON object."""
    depth = start = 0
    key = last_string = b""
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x22:  # "
                last_string = token.group()
            case 0x7B | 0x5B:  # { [
                depth += 1
            case 0x3A if depth == 1:  # :
                key, start = last_string, token.end()
            case 0x2C if depth == 1:  # ,
                yield _text(key), start, token.start()
            case 0x7D | 0x5D:  # } ]
                depth -= 1
                if depth == 0 and key:
                    yield _text(key), start, token.start()


def _text(string: bytes) -> str:
    text: str = json.loads(string) if b"\\" in string else string[1:-1].decode()
    return text
