"""Which dead letters are meant."""

import pytest

from forwarder.commands.dead_letters.which import parse_which
from forwarder.errors import ConfigurationError
from forwarder.model import Reason
from forwarder.spool.base import DeadLetterFilter


@pytest.mark.parametrize(
    ("age", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("2d", 172_800), (" 0.5 d ", 43_200)]
)
def test_ages(age: str, seconds: float) -> None:
    assert parse_which(None, None, age) == DeadLetterFilter(older_than=seconds)


@pytest.mark.parametrize("age", ["", "2", "d", "-1d", "2w", "1d2h"])
def test_what_is_no_age(age: str) -> None:
    with pytest.raises(ConfigurationError, match="is no age"):
        parse_which(None, None, age)


def test_all_of_it() -> None:
    which = parse_which("crm", "refused", None, [3, 5], everything=False)
    assert which == DeadLetterFilter("crm", Reason.REFUSED, None, (3, 5))


def test_every_mistake_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_which("crm", "bored", "soon", everything=True)
    assert [problem.key for problem in caught.value.problems] == ["--reason", "--older-than", None]


def test_a_change_must_say_which() -> None:
    with pytest.raises(ConfigurationError, match="which ones"):
        parse_which(None, None, None, [], everything=False)
    assert parse_which(None, None, None, [], everything=True) == DeadLetterFilter()
    assert parse_which(None, None, None) == DeadLetterFilter()
