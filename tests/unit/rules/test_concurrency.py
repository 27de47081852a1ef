"""The limits of a region: additive increase, multiplicative decrease, and a bucket of calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.rules.concurrency import AimdLimit, TokenBucket


def test_the_limit_grows_by_about_one_call_a_round() -> None:
    limit = AimdLimit(64, 8.0)
    for _ in range(8):
        limit = limit.succeeded(in_flight=8)
    assert int(limit) in {8, 9}
    assert 8.9 < limit.value <= 9.0


def test_a_limit_that_is_not_used_to_the_full_does_not_grow() -> None:
    assert AimdLimit(64, 8.0).succeeded(in_flight=7) == AimdLimit(64, 8.0)


def test_calls_of_one_round_halve_it_once() -> None:
    limit = AimdLimit(64, 16.0)
    for started_at in (1.0, 1.5, 2.0):
        limit = limit.overloaded(started_at, now=2.0)
    assert limit.value == 8.0
    assert limit.overloaded(2.5, now=3.0).value == 4.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 70), st.floats(0, 1)), max_size=200))
def test_the_limit_stays_between_one_and_its_ceiling(rounds: list[tuple[bool, int, float]]) -> None:
    limit, now = AimdLimit(32, 16.0), 0.0
    for good, in_flight, seconds in rounds:
        now += seconds
        before = limit
        limit = limit.succeeded(in_flight) if good else limit.overloaded(now - 0.5, now)
        assert 1 <= int(limit) <= 32
        assert limit.value >= before.value if good else limit.value <= before.value


@given(
    st.floats(0.5, 2000),
    st.integers(1, 50),
    st.lists(st.floats(-1, 3, allow_nan=False), max_size=200),
)
def test_the_bucket_gives_no_more_than_burst_and_rate(rate: float, burst: int, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, burst, 0.0)
    now, latest, given_out = 0.0, 0.0, 0
    for step in steps:
        now = max(0.0, now + step)  # a clock that goes back gives nothing
        passed = latest = max(latest, now)
        wait = bucket.take(now)
        given_out += wait == 0.0
        assert wait >= 0.0
        assert 0.0 <= bucket.tokens <= burst
        assert given_out <= burst + rate * (passed + sum(-min(0.0, each) for each in steps)) + 1e-6


@given(st.floats(0.5, 2000), st.floats(0, 100))
def test_after_the_wait_it_named_there_is_a_token(rate: float, now: float) -> None:
    bucket = TokenBucket(rate, 1.0, 1.0, now)
    assert bucket.take(now) == 0.0
    wait = bucket.take(now)
    assert wait == pytest.approx(1 / rate)
    assert bucket.take(now + wait) == pytest.approx(0.0, abs=1e-9)
