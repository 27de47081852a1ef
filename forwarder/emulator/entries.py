"""What the service checks of one PutPartnerEvents entry, and how it counts a call's size. Pure."""

from collections.abc import Sequence

import msgspec

from forwarder.emulator.wire import SOURCE_NAME, ApiError, Entry

MAX_CALL_BYTES = 262_144
MAX_SOURCE_CHARACTERS = 256
MAX_DETAIL_TYPE_CHARACTERS = 128
MAX_RESOURCE_CHARACTERS = 2048
MAX_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that the envelope's `time` can be written in
_TIME_BYTES = 14

Fault = tuple[str, str]
"""An entry's ErrorCode and ErrorMessage."""


class _JsonObject(msgspec.Struct):
    """Decoding into a struct without fields checks the grammar of a whole JSON object and keeps none of it."""


_check_object = msgspec.json.Decoder(_JsonObject).decode


def entry_sizes(entries: Sequence[Entry]) -> list[int]:
    """The bytes that each entry counts for, unless the call is too large.

    Raises:
        ApiError: ValidationException, where the entries together are over 262,144 bytes.
    """
    sizes = [entry_size(entry) for entry in entries]
    if sum(sizes) > MAX_CALL_BYTES:
        raise ApiError("ValidationException", "Total size of the entries in the request is over the limit.")
    return sizes


def entry_size(entry: Entry) -> int:
    """Bytes that an entry counts for: 14 where Time is set, and the UTF-8 of Source, DetailType, Detail and each
    resource ("Calculating PutEvents event entry size" in the EventBridge User Guide)."""
    size = _TIME_BYTES if entry.time is not None else 0
    size += _utf8_length(entry.source) + _utf8_length(entry.detail_type) + _utf8_length(entry.detail)
    return size + sum(map(_utf8_length, entry.resources)) if entry.resources else size


def entry_fault(entry: Entry) -> Fault | None:
    """What is wrong with an entry in itself, or None. Whether its source exists is another question."""
    for name, value in (("Source", entry.source), ("DetailType", entry.detail_type), ("Detail", entry.detail)):
        if not value:
            return _invalid(name, f"{name} is a required argument.")
    return _bounds_fault(entry) or _detail_fault(entry.detail or "")


def source_fault(name: str) -> Fault | None:
    """What is wrong with a source's name, or None. Not asked for a name that is known, which has passed it once."""
    if len(name) > MAX_SOURCE_CHARACTERS:
        return _invalid("Source", f"Source must be at most {MAX_SOURCE_CHARACTERS} characters long.")
    if not SOURCE_NAME.fullmatch(name):
        return _invalid("Source", f"Source must match {SOURCE_NAME.pattern}.")
    return None


def _bounds_fault(entry: Entry) -> Fault | None:
    if entry.detail_type and len(entry.detail_type) > MAX_DETAIL_TYPE_CHARACTERS:
        return _invalid("DetailType", f"DetailType must be at most {MAX_DETAIL_TYPE_CHARACTERS} characters long.")
    if entry.time is not None and not 0 <= entry.time <= MAX_TIME:
        return _invalid("Time", "Time must be between the years 1970 and 9999.")
    if entry.resources and any(len(resource) > MAX_RESOURCE_CHARACTERS for resource in entry.resources):
        return _invalid("Resources", f"A resource must be at most {MAX_RESOURCE_CHARACTERS} characters long.")
    return None


def _detail_fault(detail: str) -> Fault | None:
    try:
        _check_object(detail)
    except (msgspec.DecodeError, RecursionError):  # no JSON, no object, or nested about a thousand levels deep
        return "MalformedDetail", "Detail is malformed."
    return None


def _invalid(parameter: str, reason: str) -> Fault:
    return "InvalidArgument", f"Parameter {parameter} is not valid. Reason: {reason}"


def _utf8_length(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())
