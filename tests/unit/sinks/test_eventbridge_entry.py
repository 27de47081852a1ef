"""The entry: its bytes, its size by AWS's formula, its limits."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Delivery, Destination, Notification, Reason
from forwarder.sinks.eventbridge_entry import encode_body, encode_line, entry_fault, entry_size, make_entry

SOURCE = "aws.partner/genesys.com/cloud/an-organization/crm-prod"
TEMPLATE = "v2.users.{id}.presence"
DETAIL = b'{"eventBody": {"n":1.0, "big":1e400, "dup":1,"dup":2, "esc":"\\u00e9\\/"}, "uni":"\xc3\xa9\xe2\x80\xa8"}'
LIMIT = 262_144


def destination(source: str = SOURCE) -> Destination:
    return Destination("123456789012", "us-east-1", source)


def delivery(detail: bytes = DETAIL, detail_type: str = TEMPLATE, time: int = 1_774_055_395) -> Delivery:
    return Delivery(1, Notification("id", "v2.users.1.presence", detail, time, time + 0.5), "crm", detail_type)


def decoded(*deliveries: Delivery) -> list[dict[str, Any]]:
    body: dict[str, list[dict[str, Any]]] = json.loads(
        encode_body(make_entry(destination(), one) for one in deliveries)
    )
    assert list(body) == ["Entries"]
    return body["Entries"]


def test_an_entry_is_what_the_api_names() -> None:
    assert decoded(delivery()) == [
        {
            "Time": 1_774_055_395,
            "Source": SOURCE,
            "Resources": [],
            "DetailType": TEMPLATE,
            "Detail": DETAIL.decode(),
        }
    ]


def test_a_line_is_the_same_entry_without_line_breaks_inside() -> None:
    line = encode_line(make_entry(destination(), delivery(b'{"a":\n1}')))
    assert b"\n" not in line
    assert [json.loads(line)] == decoded(delivery(b'{"a":\n1}'))


@given(texts=st.lists(st.text(), min_size=1, max_size=20))
def test_every_detail_arrives_byte_for_byte_and_in_order(texts: list[str]) -> None:
    details = [json.dumps({"x": text}, ensure_ascii=False).encode("utf-8", "replace") for text in texts]
    assert [entry["Detail"].encode() for entry in decoded(*map(delivery, details))] == details


def test_bytes_that_are_not_utf8_do_not_fail_the_other_entries() -> None:
    broken, sound = decoded(delivery(b'{"a":"\xff"}'), delivery())
    assert json.loads(broken["Detail"]) == {"a": "\N{REPLACEMENT CHARACTER}"}
    assert sound["Detail"].encode() == DETAIL


def aws_formula(entry: dict[str, Any]) -> int:
    """The user guide's own example ("Calculating PutEvents event entry size"), in Python."""
    size = 14 if entry.get("Time") is not None else 0
    size += len(entry["Source"].encode()) + len(entry["DetailType"].encode()) + len(entry["Detail"].encode())
    return size + sum(len(resource.encode()) for resource in entry["Resources"])


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    detail_type=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_the_size_is_the_one_aws_counts(text: str, detail_type: str) -> None:
    one = delivery(json.dumps({"x": text}, ensure_ascii=False).encode(), detail_type)
    assert entry_size(destination(), one) == aws_formula(decoded(one)[0])


def test_an_entry_may_be_as_large_as_the_limit_and_no_larger() -> None:
    room = LIMIT - entry_size(destination(), delivery(b"{}"))
    assert entry_fault(destination(), delivery(b"{" + b" " * room + b"}"), LIMIT) is None
    fault = entry_fault(destination(), delivery(b"{" + b" " * (room + 1) + b"}"), LIMIT)
    assert fault == (Reason.OVERSIZE, "the entry has 262145 bytes by EventBridge's formula; 262144 are allowed")


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (delivery(detail_type=""), "detail-type is empty"),
        (delivery(detail_type="x" * 129), "over 128 characters (129)"),
        (delivery(time=-1), "1970 to 9999"),
        (delivery(time=253_402_300_800), "1970 to 9999"),
        (delivery(detail=b"[]"), "not a JSON object"),
        (delivery(detail=b""), "not a JSON object"),
        (delivery(detail=b'{"a":"\xff"}'), "not UTF-8: invalid start byte at byte 6"),
        (delivery(detail=b'{"a":"\xed\xa0\x80"}'), "not UTF-8"),
    ],
)
def test_what_can_never_be_accepted_is_said_to_be_invalid(one: Delivery, word: str) -> None:
    fault = entry_fault(destination(), one, LIMIT)
    assert fault is not None
    assert fault[0] is Reason.INVALID_ENTRY
    assert word in fault[1]


@pytest.mark.parametrize(
    "one",
    [delivery(), delivery(detail_type="é" * 128), delivery(time=0), delivery(time=253_402_300_799), delivery(b"{}")],
)
def test_what_is_within_the_limits_has_no_fault(one: Delivery) -> None:
    assert entry_fault(destination(), one, LIMIT) is None


def longest_source(characters: int) -> str:
    return "aws.partner/a/".ljust(characters, "b")


@pytest.mark.parametrize("source", ["aws.partner/a/b", longest_source(256), "aws.partner/A.b-c_d/0/1/2"])
def test_a_source_of_the_service_models_pattern_is_good(source: str) -> None:
    assert entry_fault(destination(source), delivery(), LIMIT) is None


@pytest.mark.parametrize(
    "source",
    ["", "aws.partner/a", "aws.partner/a/", "aws.partner/a/b c", "aws.partner/a/b\n", "aws/a/b", longest_source(257)],
)
def test_any_other_source_is_invalid(source: str) -> None:
    fault = entry_fault(destination(source), delivery(), LIMIT)
    assert fault is not None
    assert fault[0] is Reason.INVALID_ENTRY
    assert "event source name" in fault[1]


def test_entries_cannot_be_changed_on_the_way() -> None:
    entry = make_entry(destination(), delivery())
    with pytest.raises(AttributeError):
        entry.detail = "{}"  # type: ignore[misc]  # that it is not allowed is what is tested
    assert msgspec.structs.asdict(entry)["detail"].encode() == DETAIL
