"""The entry of a PutPartnerEvents call: its form, its size, its limits. Pure.

Sources: the PutPartnerEventsRequestEntry shape of the EventBridge API reference (service model 2015-10-07), and
"Calculating Amazon EventBridge PutEvents event entry size" in the EventBridge user guide.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from forwarder.model import Delivery, Destination, Reason

MAX_DETAIL_TYPE_CHARACTERS = 128
MAX_SOURCE_CHARACTERS = 256
TIME_BYTES = 14
"""What the size formula counts for a `Time` that is set, however it is written."""
LATEST_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z: the last second that AWS's timestamps can be written in."""

_SOURCE = re.compile(r"aws\.partner(/[.\-_A-Za-z0-9]+){2,}")


class Entry(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """One entry as the API names its members. `detail` is the JSON object as a string, `time` in epoch seconds."""

    time: int
    source: str
    resources: tuple[str, ...]
    detail_type: str
    detail: str


class _Body(msgspec.Struct, frozen=True, rename="pascal"):
    entries: list[Entry]


_encoder = msgspec.json.Encoder()


def make_entry(destination: Destination, delivery: Delivery) -> Entry:
    """The entry for this delivery. Its detail is the notification's, byte for byte.

    Bytes that are not UTF-8 have no form in JSON; `entry_fault` turns them away. Should one come here all the same it
    is replaced, so that it cannot fail the other entries of its call.
    """
    notification = delivery.notification
    return Entry(
        notification.time,
        destination.event_source_name,
        (),
        delivery.detail_type,
        str(notification.detail, "utf-8", "replace"),
    )


def encode_body(entries: Iterable[Entry]) -> bytes:
    """The whole JSON 1.1 body of one PutPartnerEvents call."""
    return _encoder.encode(_Body(list(entries)))


def encode_line(entry: Entry) -> bytes:
    """One entry as a JSON line, without its newline."""
    return _encoder.encode(entry)


def entry_size(destination: Destination, delivery: Delivery) -> int:
    """Bytes by AWS's formula: 14 for the time and the UTF-8 bytes of source, detail-type and detail (no resources).
    The JSON around them and its escapes do not count."""
    return (
        TIME_BYTES
        + len(destination.event_source_name.encode())
        + len(delivery.detail_type.encode())
        + len(delivery.notification.detail)
    )


def entry_fault(destination: Destination, delivery: Delivery, max_bytes: int) -> tuple[Reason, str] | None:
    """Why EventBridge can never accept this entry, as (reason, sentence), or None.

    OVERSIZE where the entry alone is over `max_bytes`, INVALID_ENTRY for the rest of the service model's limits.
    """
    size = entry_size(destination, delivery)
    if size > max_bytes:
        return Reason.OVERSIZE, f"the entry has {size} bytes by EventBridge's formula; {max_bytes} are allowed"
    sentence = _source_fault(destination.event_source_name) or _delivery_fault(delivery)
    return (Reason.INVALID_ENTRY, sentence) if sentence else None


@lru_cache(maxsize=256)
def _source_fault(source: str) -> str | None:
    if len(source) > MAX_SOURCE_CHARACTERS:
        return f"the event source name has {len(source)} characters; {MAX_SOURCE_CHARACTERS} are allowed: {source}"
    if not _SOURCE.fullmatch(source):
        return f"the event source name {source!r} is not aws.partner/NAME/NAME... with names of A-Z a-z 0-9 . - _"
    return None


def _delivery_fault(delivery: Delivery) -> str | None:
    detail_type, notification = delivery.detail_type, delivery.notification
    if not detail_type:
        return "the detail-type is empty"
    if len(detail_type) > MAX_DETAIL_TYPE_CHARACTERS:
        return f"the detail-type has over {MAX_DETAIL_TYPE_CHARACTERS} characters ({len(detail_type)}): {detail_type}"
    if not 0 <= notification.time <= LATEST_TIME:
        return f"the time {notification.time} is not in the years 1970 to 9999 (epoch seconds)"
    return _detail_fault(notification.detail)


def _detail_fault(detail: bytes) -> str | None:
    if not detail.startswith(b"{"):
        return "the detail is not a JSON object"
    try:
        str(detail, "utf-8")
    except UnicodeDecodeError as error:
        return f"the detail is not UTF-8: {error.reason} at byte {error.start}"
    return None
