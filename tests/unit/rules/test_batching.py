"""Packing: never over a limit, nothing lost, order kept."""

from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Delivery, Notification, Reason
from forwarder.rules.batching import CallLimits, pack

SIZES = st.integers(1, 120)


def delivery(seq: int, size: int, received_at: float = 100.0, topic: str = "good") -> Delivery:
    return Delivery(seq, Notification(str(seq), topic, b"x" * size, 0, received_at), "a", "type")


def size_of(each: Delivery) -> int:
    return len(each.notification.detail)


def fault_of(each: Delivery) -> tuple[Reason, str] | None:
    return (Reason.OVERSIZE, "too large") if each.notification.topic == "bad" else None


QUEUES = st.lists(
    st.tuples(SIZES, st.sampled_from([50.0, 100.0]), st.sampled_from(["good", "good", "bad"])), max_size=40
).map(lambda rows: [delivery(seq, *row) for seq, row in enumerate(rows)])


@given(QUEUES, st.integers(1, 10), st.integers(1, 300))
def test_a_call_is_within_its_limits_and_takes_the_front_of_the_queue(
    queue: list[Delivery], entries: int, size: int
) -> None:
    packed = pack(queue, CallLimits(entries, size), expired_by=50.0, size=size_of, fault=fault_of)
    assert len(packed.send) <= entries
    assert sum(map(size_of, packed.send)) <= size or len(packed.send) == 1
    taken = [*packed.send, *packed.expired, *(each for each, _, _ in packed.faulty)]
    assert sorted(taken, key=lambda each: each.seq) == queue[: packed.taken]
    for part in (packed.send, packed.expired):
        assert part == sorted(part, key=lambda each: each.seq)
    assert all(each.notification.received_at <= 50.0 for each in packed.expired)
    assert all(fault_of(each) and each.notification.received_at > 50.0 for each, _, _ in packed.faulty)


@given(QUEUES, st.integers(1, 10), st.integers(1, 300))
def test_it_stops_only_where_the_next_does_not_fit(queue: list[Delivery], entries: int, size: int) -> None:
    packed = pack(queue, CallLimits(entries, size), expired_by=50.0, size=size_of, fault=fault_of)
    if packed.taken == len(queue):
        return
    following = queue[packed.taken]
    assert following.notification.received_at > 50.0
    assert not fault_of(following)
    assert len(packed.send) == entries or sum(map(size_of, packed.send)) + size_of(following) > size


@given(QUEUES)
def test_a_queue_always_empties_in_order(queue: list[Delivery]) -> None:
    waiting, sent = list(queue), []
    while waiting:
        packed = pack(waiting, CallLimits(3, 100), expired_by=50.0, size=size_of, fault=fault_of)
        assert packed.taken
        sent += packed.send
        del waiting[: packed.taken]
    assert [each.seq for each in sent] == sorted(each.seq for each in sent)


def test_with_no_room_only_what_need_not_be_sent_leaves() -> None:
    queue = [delivery(0, 1, 50.0), delivery(1, 1, topic="bad"), delivery(2, 1), delivery(3, 1, 50.0)]
    packed = pack(queue, CallLimits(0, 0), expired_by=50.0, size=size_of, fault=fault_of)
    assert (packed.send, packed.expired) == ([], queue[:1])
    assert packed.faulty == [(queue[1], Reason.OVERSIZE, "too large")]


def test_what_has_expired_is_not_judged() -> None:
    packed = pack([delivery(0, 1, 50.0, "bad")], CallLimits(1, 1), expired_by=50.0, size=size_of, fault=fault_of)
    assert (len(packed.expired), packed.faulty) == (1, [])
