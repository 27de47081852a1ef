"""Topics in MQTT's form, the smallest set of subscriptions, and the memory of a session."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.intake.mqtt_session import SessionMemory, dotted, load, save, subscriptions

segments = st.sampled_from(["a", "b", "*"])
filters = st.tuples(st.lists(segments, min_size=1, max_size=3), st.booleans()).map(
    lambda parts: ".".join([*parts[0], *(["#"] if parts[1] else [])])
)
topics = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


def matches(mqtt_filter: str, topic: list[str]) -> bool:
    """By the words of MQTT 3.1.1, section 4.7.1, save that `#` needs a level of its own."""
    levels = mqtt_filter.split("/")
    if levels[-1] == "#":
        return len(topic) >= len(levels) and matches("/".join(levels[:-1]) or "", topic[: len(levels) - 1])
    if levels == [""]:
        return not topic
    return len(levels) == len(topic) and all(one in ("+", other) for one, other in zip(levels, topic, strict=True))


@given(st.frozensets(filters, max_size=6), topics)
def test_leaving_out_what_is_covered_changes_nothing(wanted: frozenset[str], topic: list[str]) -> None:
    every = {one.replace(".", "/").replace("*", "+") for one in wanted}
    least = subscriptions(wanted, "", None)
    assert least <= every
    assert any(matches(one, topic) for one in least) == any(matches(one, topic) for one in every)


@pytest.mark.parametrize(
    ("wanted", "least"),
    [
        ({"v2.users.*.presence", "v2.users.1.presence"}, {"v2/users/+/presence"}),
        ({"v2.#", "v2.users.#", "v2.users.*"}, {"v2/#"}),
        ({"#", "a"}, {"#"}),
        ({"a.*", "*.a"}, {"a/+", "+/a"}),
        ({"a.b", "a.b.c"}, {"a/b", "a/b/c"}),
    ],
)
def test_the_least_set(wanted: set[str], least: set[str]) -> None:
    assert subscriptions(frozenset(wanted), "", None) == least


def test_root_and_group() -> None:
    assert subscriptions(frozenset({"v2.*"}), "org/42/", "g") == {"$share/g/org/42/v2/+"}
    assert dotted(b"org/42/v2/1", "org/42/") == "v2.1"
    assert dotted(b"elsewhere/\xff", "org/42/") == "elsewhere.�"


class TestMemory:
    def test_a_made_up_client_id_stays(self, tmp_path: Path) -> None:
        first = load(tmp_path / "state" / "s.json", None)
        assert first.client_id.isalnum()
        assert len(first.client_id) == 23
        assert load(tmp_path / "state" / "s.json", None) == first

    def test_what_was_saved_is_there(self, tmp_path: Path) -> None:
        memory = SessionMemory("me", frozenset({"a/+"}))
        save(tmp_path / "s.json", memory)
        assert load(tmp_path / "s.json", "me") == memory
        assert load(tmp_path / "s.json", None) == memory

    def test_it_belongs_to_its_client_id(self, tmp_path: Path) -> None:
        save(tmp_path / "s.json", SessionMemory("me", frozenset({"a/+"})))
        assert load(tmp_path / "s.json", "another") == SessionMemory("another")

    def test_an_unreadable_file_counts_as_none(self, tmp_path: Path) -> None:
        (tmp_path / "s.json").write_bytes(b"\xff{")
        assert load(tmp_path / "s.json", "me") == SessionMemory("me")
