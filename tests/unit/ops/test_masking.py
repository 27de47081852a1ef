"""No secret comes through, wherever it stands; all else does."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.ops.masking import Masker

SECRET = 'hunter2-"\\ü'

texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
with_secret = st.tuples(texts, texts).map(SECRET.join)
nested = st.recursive(
    scalars | with_secret | with_secret.map(Path) | with_secret.map(ValueError),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | with_secret, inner, max_size=4),
    max_leaves=12,
)


@given(nested)
def test_a_known_value_never_comes_through(value: object) -> None:
    masked = json.dumps(Masker([SECRET]).mask(value), ensure_ascii=False)
    assert "hunter2" not in masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mqtts://joe:pa:ss@broker:8883/x", "mqtts://joe:***@broker:8883/x"),
        ("wss://:p@ss@host", "wss://:***@host"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("Credential=AKIA/2026, Signature=0a1b2c", "Credential=AKIA/2026, Signature=***"),
        ("nothing to hide: v2.users.{id}.presence", "nothing to hide: v2.users.{id}.presence"),
    ],
)
def test_masks_by_shape(text: str, masked: str) -> None:
    assert Masker([]).mask(text) == masked


@pytest.mark.parametrize(
    "name", ["password", "admin_token", "AWS_SECRET_ACCESS_KEY", "Authorization", "apiKey", "Cookie"]
)
def test_masks_by_name_at_any_depth(name: str) -> None:
    assert Masker([]).mask({"headers": [{name: "x", "host": "h"}]}) == {"headers": [{name: "***", "host": "h"}]}


@pytest.mark.parametrize("name", ["token-service", "secret", "credential-audit", "cookies"])
def test_what_is_known_of_something_with_such_a_name_is_shown(name: str) -> None:
    books = {name: {"matched": 5, "trouble": "none", "token": "abc"}}
    assert Masker(["hunter2"]).mask(books) == {name: {"matched": 5, "trouble": "none", "token": "***"}}


def test_a_list_of_secrets_is_masked_whole() -> None:
    assert Masker([]).mask({"tokens": ["a", "b"]}) == {"tokens": "***"}


def test_a_secret_that_was_not_given_is_shown_as_not_given() -> None:
    assert Masker([]).mask({"password": None, "token": ""}) == {"password": None, "token": ""}


def test_a_count_is_no_secret() -> None:
    assert Masker([]).mask({"retried": {"credentials": 3}}) == {"retried": {"credentials": 3}}


def test_takes_the_aws_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    assert Masker([]).mask("the key wJalrXUtnFEMI is wrong") == "the key *** is wrong"


def test_of_two_secrets_the_longer_is_masked_whole() -> None:
    assert Masker(["abcd", "abcdef"]).mask("abcdef abcd") == "*** ***"


def test_a_very_short_secret_does_not_mask_the_whole_log() -> None:
    assert Masker(["a"]).mask("a day") == "a day"
