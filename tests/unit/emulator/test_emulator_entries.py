"""What the service checks of an entry, and how it counts bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.emulator.entries import MAX_CALL_BYTES, entry_fault, entry_size, entry_sizes, source_fault
from forwarder.emulator.wire import ApiError, Entry

SOURCE = "aws.partner/example.com/organization/suffix"

entries = st.builds(
    Entry,
    time=st.none() | st.integers(0, 4_000_000_000) | st.floats(0, 4e9),
    source=st.none() | st.text(max_size=20),
    resources=st.none() | st.lists(st.text(max_size=20), max_size=3).map(tuple),
    detail_type=st.none() | st.text(max_size=20),
    detail=st.none() | st.text(max_size=50),
)


def by_the_user_guide(entry: Entry) -> int:
    """The guide's Java example, line by line."""
    size = 0
    if entry.time is not None:
        size += 14
    for text in (entry.source, entry.detail_type, entry.detail, *(entry.resources or ())):
        size += len((text or "").encode("utf-8"))
    return size


@given(entries)
def test_size_is_counted_as_the_user_guide_counts(entry: Entry) -> None:
    assert entry_size(entry) == by_the_user_guide(entry)


@given(count=st.integers(1, 20), over=st.integers(-3, 3), letter=st.sampled_from("xé€😀"))
def test_a_call_may_have_262144_bytes_and_no_more(count: int, over: int, letter: str) -> None:
    call = [Entry(source="s", detail_type="t", detail="{}", time=1) for _ in range(count)]
    room = MAX_CALL_BYTES + over - sum(map(entry_size, call))
    width = len(letter.encode())
    text = letter * (room // width) + "x" * (room % width)
    call[-1] = Entry(source="s", detail_type="t", detail="{}" + text, time=1)
    if over > 0:
        with pytest.raises(ApiError, match="Total size of the entries in the request is over the limit"):
            entry_sizes(call)
    else:
        assert sum(entry_sizes(call)) == MAX_CALL_BYTES + over


def fault(**members: object) -> str | None:
    given = {"source": SOURCE, "detail_type": "t", "detail": "{}"} | members
    found = entry_fault(Entry(**given))  # type: ignore[arg-type]  # one table for members of all types
    return found and found[0]


@pytest.mark.parametrize("member", ["source", "detail_type", "detail"])
@pytest.mark.parametrize("value", [None, ""])
def test_source_detail_type_and_detail_are_required(member: str, value: str | None) -> None:
    assert fault(**{member: value}) == "InvalidArgument"


@pytest.mark.parametrize(
    ("members", "refused"),
    [
        ({"detail_type": "é" * 128}, False),
        ({"detail_type": "t" * 129}, True),
        ({"resources": ("r" * 2048,)}, False),
        ({"resources": ("r" * 2049,)}, True),
        ({"resources": ()}, False),
        ({"time": 0}, False),
        ({"time": 253_402_300_799}, False),
        ({"time": 253_402_300_800}, True),
        ({"time": -1}, True),
        ({"time": 1e300}, True),
    ],
)
def test_bounds(members: dict[str, object], refused: bool) -> None:
    assert fault(**members) == ("InvalidArgument" if refused else None)


@pytest.mark.parametrize(
    "detail",
    [
        "{}",
        ' {"a": 1.0} ',
        '{"a":1e400,"b":-0.0,"c":' + "9" * 400 + "}",
        '{"a":1,"a":2}',
        '{"é":"\\u00e9\\ud83d\\ude00"}',
        '{"a":' * 200 + "{}" + "}" * 200,
    ],
)
def test_any_json_object_is_a_detail(detail: str) -> None:
    assert fault(detail=detail) is None


@pytest.mark.parametrize(
    "detail",
    [
        "x",
        " ",
        "[]",
        "1",
        '"{}"',
        "null",
        "{",
        "{}}",
        "{} {}",
        "{'a':1}",
        '{"a":1,}',
        '{"a":01}',
        '{"a":1.}',
        '{"a":NaN}',
        '{"a":+1}',
        '{"a":tru}',
        '{"a":"\n"}',
        '{"a":"\\x"}',
        "\ufeff{}",
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)  # fmt: skip  (one to a line would take a page)
def test_what_is_no_json_object_is_malformed(detail: str) -> None:
    assert fault(detail=detail) == "MalformedDetail"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=json_values, ascii_only=st.booleans())
def test_exactly_the_objects_pass(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert (fault(detail=text) is None) == isinstance(value, dict)


@pytest.mark.parametrize(
    "name", ["aws.partner/a/b", "aws.partner/example.com/cloud/id-1_2.x", "aws.partner/a/" + "b" * 242]
)
def test_source_names(name: str) -> None:
    assert source_fault(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "aws.partner",
        "aws.partner/a",
        "aws.partner/a/",
        "aws.partner/a//b",
        "x/a/b",
        "aws.partner/a/b c",
        "aws.partner/a/b\n",
        "aws-partner/a/b",
        "aws.partner/a/" + "b" * 243,
    ],
)  # fmt: skip  (one to a line would take a page)
def test_what_is_no_source_name(name: str) -> None:
    found = source_fault(name)
    assert found
    assert found[0] == "InvalidArgument"
