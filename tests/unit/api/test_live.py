"""The tap and the rates as they are fed, on a clock of their own."""

import msgspec
import pytest

from forwarder.api import tap, topic_rates
from forwarder.api.tap import Listener
from forwarder.api.topic_rates import TopicRates
from forwarder.model import Notification, Route
from forwarder.rules.topic_filter import parse_topic_filter
from forwarder.spool.base import Record


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def record(topic: str, *ids: str, detail: bytes = b"{}") -> Record:
    return Record(Notification("id", topic, detail, 1, 1.5), Route(topic, ids))


def sent(listener: Listener) -> list[tuple[str, str]]:
    lines = [line for line in listener.take().decode().split("\n") if line.startswith("data:")]
    found = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines]
    return [(each["integration"], each["topic"]) if "topic" in each else ("dropped", each["count"]) for each in found]


def test_a_listener_gets_what_it_asked_for() -> None:
    every, one = Listener(None, ()), Listener("a", parse_topic_filter("v2.{id}?x&y"))
    records = [record("v2.1.x", "a", "b"), record("v2.1.z", "a"), record("v2.2.y", "b")]
    for listener in (every, one):
        listener.offer(records)
    assert sent(every) == [("a", "v2.1.x"), ("b", "v2.1.x"), ("a", "v2.1.z"), ("b", "v2.2.y")]
    assert sent(one) == [("a", "v2.1.x")]
    assert sent(every) == []


def test_what_waits_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(None, ())
    monkeypatch.setattr(tap, "MAX_WAITING", 2)
    listener.offer([record("t", "a")] * 5)
    assert sent(listener) == [("a", "t"), ("a", "t"), ("dropped", 3)]
    monkeypatch.setattr(tap, "MAX_WAITING_BYTES", 10)
    listener.offer([record("t", "a", detail=b"x" * 10)] * 2)
    assert sent(listener) == [("a", "t"), ("dropped", 1)]


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    listener = Listener(None, ())
    listener.offer([record("t", "a", detail=b'{"a":"\xff"}')])
    assert sent(listener) == [("a", "t")]


def test_rates_are_of_the_last_ten_to_twenty_seconds() -> None:
    clock = Clock()
    rates = TopicRates(clock)
    for _ in range(10):
        rates.count([record("a", "x")] * 5)
        clock.time += 1
    assert rates.rates().rates == {"a": 5.0}
    clock.time += 5
    rates.count([record("b", "x")] * 30)
    found = rates.rates()
    assert (found.seconds, found.rates) == (15.0, {"a": round(50 / 15, 3), "b": 2.0})
    clock.time += 10
    assert set(rates.rates().rates) == {"b"}
    clock.time += 1000
    assert rates.rates().rates == {}


def test_the_templates_that_are_counted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_rates, "MAX_TEMPLATES", 3)
    rates = TopicRates(Clock())
    for number in range(10):
        rates.count([record(f"t{number}", "x")])
    assert len(rates.rates().rates) == 3
