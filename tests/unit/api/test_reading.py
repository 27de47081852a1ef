"""Bodies and queries: everything wrong at once, each at its field."""

from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from forwarder.api.models import CreateIntegration, UpdateConfiguration, UpdateIntegration
from forwarder.api.reading import read_body, read_query
from forwarder.ops.refusals import Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Query(msgspec.Struct, frozen=True, rename="camel"):
    page_size: Annotated[int, msgspec.Meta(ge=1, le=5)] = 2
    ids: list[int] | None = None
    kind: Literal["a", "b"] | None = None


def faults(content: str | bytes, cls: type[msgspec.Struct] = UpdateConfiguration) -> list[str | None]:
    with pytest.raises(Refused) as caught:
        read_body(cls, content.encode() if isinstance(content, str) else content)
    assert caught.value.status == 400
    return [each.field for each in caught.value.faults]


def test_a_whole_body() -> None:
    body = b'{"name":"n","version":3,"properties":{"awsAccountId":"1","eventFilter":["x"]},"selfUri":"/not/looked/at"}'
    read = read_body(UpdateConfiguration, body)
    assert (read.name, read.version, read.notes) == ("n", 3, None)
    assert (read.properties.aws_account_id, read.properties.event_filter) == ("1", ["x"])


def test_a_null_is_not_given() -> None:
    assert read_body(CreateIntegration, b'{"integrationType":{"id":"t"},"name":null,"id":null}').id is None
    assert faults('{"intendedState":null}', UpdateIntegration) == ["intendedState"]


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("{}", ["name", "version", "properties"]),
        (
            '{"name":1,"version":"1","properties":{"awsAccountId":7,"typo":1}}',
            ["name", "version", "properties.awsAccountId", "properties.typo"],
        ),
        ('{"name":"","version":1,"properties":7}', ["properties"]),
        ('{"name":"","version":1.5,"properties":{"eventFilter":["a",1]}}', ["version", "properties.eventFilter"]),
        ("[]", []),
        ("", []),
        (b"\xff", []),
        ("[" * 100_000, []),
    ],
)
def test_what_is_wrong(content: str | bytes, fields: list[str]) -> None:
    assert faults(content) == fields


def outcome(cls: type[msgspec.Struct], content: bytes) -> int:
    try:
        read_body(cls, content)
    except Refused as refused:
        msgspec.json.encode(refused.body())
        return refused.status
    return 200


@given(JSON)
def test_nothing_but_a_refusal_comes_of_any_json(value: object) -> None:
    for cls in (UpdateConfiguration, CreateIntegration, UpdateIntegration):
        assert outcome(cls, msgspec.json.encode(value)) in (200, 400)


@given(st.binary())
def test_nothing_but_a_refusal_comes_of_any_bytes(content: bytes) -> None:
    assert outcome(UpdateConfiguration, content) == 400


def test_a_query() -> None:
    assert read_query(Query, MultiDict()) == Query()
    given_ = MultiDict([("pageSize", "3"), ("ids", "1,2"), ("ids", "3"), ("kind", "b"), ("other", "x")])
    assert read_query(Query, given_) == Query(3, [1, 2, 3], "b")


def test_a_wrong_query() -> None:
    with pytest.raises(Refused) as caught:
        read_query(Query, MultiDict({"pageSize": "6", "ids": "1,x", "kind": "c"}))
    assert [each.field for each in caught.value.faults] == ["pageSize", "ids", "kind"]
