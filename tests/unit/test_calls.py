"""What is booked, made again and told when a call has ended: every delivery of the call exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.calls import Call, Outcome, fail, judge
from forwarder.errors import PutError
from forwarder.model import Delivery, EntryResult, Reason
from forwarder.rules.retry import ENTRY_PAUSES
from forwarder.spool.base import Settlement
from tests.unit.scripted import ACCEPTED, GONE, PERMANENT, RETRY, notification

NOW = 1_000.0


def delivery(seq: int, attempts: int = 0) -> Delivery:
    return Delivery(seq, notification(f"e{seq}", NOW), "a", "type", attempts)


def call(send: int, *, expired: int = 0, faulty: int = 0, log: bool = True) -> Call:
    """A call whose sent, expired and faulty deliveries are interleaved in the log."""
    kinds = ["send"] * send + ["expired"] * expired + ["faulty"] * faulty
    kinds = kinds[::2] + kinds[1::2]
    of = {kind: [delivery(n, int(not log)) for n, each in enumerate(kinds, 1) if each == kind] for kind in set(kinds)}
    bad = [(each, Reason.OVERSIZE, "too large") for each in of.get("faulty", [])]
    return Call(of.get("send", []), of.get("expired", []), bad, (1, len(kinds) + 5) if log else None)


def booked(settlement: Settlement) -> int:
    return settlement.delivered + settlement.expired + len(settlement.parked) + len(settlement.dead)


@given(
    st.lists(st.sampled_from([ACCEPTED, RETRY, PERMANENT, GONE])), st.integers(0, 4), st.integers(0, 4), st.booleans()
)
def test_every_delivery_is_booked_once(results: list[EntryResult], expired: int, faulty: int, log: bool) -> None:
    its = call(len(results), expired=expired, faulty=faulty, log=log)
    outcome = judge("a", its, results, NOW, lambda: 0.5)
    settlement = outcome.settlement
    assert booked(settlement) == len(results) + expired + faulty
    assert settlement.delivered == len(outcome.accepted) == results.count(ACCEPTED)
    assert settlement.finished == its.stretch
    assert len(settlement.unparked) == (0 if log else len(results) + expired + faulty)
    assert not outcome.again
    assert (outcome.label == "accepted") == (results.count(ACCEPTED) == len(results))


def test_a_parked_entry_counts_its_tries_and_waits_longer_each_time() -> None:
    its = Call([delivery(1, attempts=2)], [], [], None)
    (parked,) = judge("a", its, [RETRY], NOW, lambda: 0.5).settlement.parked
    assert parked.delivery.attempts == 3
    assert parked.retry_at == NOW + ENTRY_PAUSES.base * 4 * 0.5
    assert (parked.reason, parked.code) == (Reason.ENTRY_INTERNAL, "InternalException")


def test_a_source_that_is_gone_is_trouble_of_the_lane_and_the_entry_is_kept() -> None:
    outcome = judge("a", call(2), [ACCEPTED, GONE], NOW, lambda: 0.5)
    assert outcome.trouble
    assert (outcome.trouble.reason, outcome.trouble.message) == (Reason.SOURCE_GONE, "unknown source")
    assert outcome.settlement.retried == {Reason.SOURCE_GONE: 1}


def test_fewer_results_than_entries_are_never_paired() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge("a", call(2), [ACCEPTED], NOW, lambda: 0.5)


def test_trouble_of_the_destination_moves_nothing() -> None:
    its = call(3, expired=1)
    outcome = fail("a", its, PutError(Reason.THROTTLED, "Throttling", "slow", retry_after=2.0), NOW)
    assert outcome.again == (its,)
    assert outcome.settlement == Settlement("a", None, retried={Reason.THROTTLED: 3})
    assert outcome.trouble
    assert outcome.trouble.at_least == 2.0


def test_one_entry_that_is_refused_is_buried_with_all_that_came_along() -> None:
    outcome = fail("a", call(1, expired=2, faulty=2), _refused(), NOW)
    assert booked(outcome.settlement) == 5
    assert outcome.settlement.finished == (1, 10)
    assert not outcome.again


def _refused() -> PutError:
    return PutError(Reason.REFUSED, "ValidationException", "not so")


@given(st.integers(2, 20), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_halves_tile_the_stretch_and_hold_what_lies_in_theirs(send: int, expired: int, faulty: int, log: bool) -> None:
    its = call(send, expired=expired, faulty=faulty, log=log)
    outcome: Outcome = fail("a", its, _refused(), NOW)
    left, right = outcome.again
    assert outcome.trouble is None
    assert left.send
    assert right.send
    assert left.send + right.send == its.send
    assert left.expired + right.expired == its.expired
    assert left.faulty + right.faulty == its.faulty
    assert sorted([*left.parked, *right.parked]) == sorted(its.parked)
    if not its.stretch:
        return
    assert left.stretch
    assert right.stretch
    assert (left.stretch[0], right.stretch[1]) == its.stretch
    assert left.stretch[1] + 1 == right.stretch[0]
    for half in (left, right):
        assert half.stretch
        for each in [*half.send, *half.expired, *(one for one, _, _ in half.faulty)]:
            assert half.stretch[0] <= each.seq <= half.stretch[1]
