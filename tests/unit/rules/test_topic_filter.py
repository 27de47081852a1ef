import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.rules.filter_index import FilterIndex, minimal_cover
from forwarder.rules.topic_filter import (
    MAX_CHARACTERS,
    TopicFilter,
    TopicFilterError,
    parse_topic_filter,
    parse_topic_filters,
)

# Few and short, so that filters and topics meet often.
LITERALS = st.sampled_from(["a", "b", "v2"])
FILTERS = st.builds(
    lambda segments, rest: TopicFilter((*segments, *rest)),
    st.lists(LITERALS | st.just("*"), min_size=1, max_size=4),
    st.sampled_from([(), ("#",)]),
)
TOPICS = st.lists(LITERALS | st.sampled_from(["*", "#", "c", ""]), min_size=1, max_size=6).map(".".join)


def naive_match(segments: tuple[str, ...], topic: str) -> bool:
    given = topic.split(".")
    for place, wanted in enumerate(segments):
        if wanted == "#":
            return len(given) > place
        if place >= len(given) or wanted not in ("*", given[place]):
            return False
    return len(given) == len(segments)


def one(text: str) -> TopicFilter:
    (parsed,) = parse_topic_filter(text)
    return parsed


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("v2.users.{id}.presence", ("v2", "users", "*", "presence")),
        ("v2.users.*.presence", ("v2", "users", "*", "presence")),
        ("v2.users.+.presence", ("v2", "users", "*", "presence")),
        ("v2.users.{user-id}.#", ("v2", "users", "*", "#")),
        ("#", ("#",)),
        ("{id}", ("*",)),
        ("v2.audits.entitytype.USER.entityid.{id}", ("v2", "audits", "entitytype", "USER", "entityid", "*")),
        ("v2.Ünïcode_-$~:x", ("v2", "Ünïcode_-$~:x")),
    ],
)
def test_the_spellings_of_a_filter(text: str, segments: tuple[str, ...]) -> None:
    assert one(text).segments == segments


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("v2.users.{id}?presence&routingStatus", ["v2.users.{id}.presence", "v2.users.{id}.routingStatus"]),
        ("v2.users.{id}?presence", ["v2.users.{id}.presence"]),
        ("v2.users.{id}?presence&presence", ["v2.users.{id}.presence"]),
        ("v2.users.*?conversations.calls&#", ["v2.users.{id}.conversations.calls", "v2.users.{id}.#"]),
    ],
)
def test_the_combined_form_stands_for_each_ending(text: str, expanded: list[str]) -> None:
    assert [str(each) for each in parse_topic_filter(text)] == expanded


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("v2..presence", "empty segment"),
        (".v2", "empty segment"),
        ("v2.", "empty segment"),
        ("v2.#.presence", "only allowed as the last"),
        ("#?presence", "only allowed as the last"),
        ("v2.us*er", "not a part of 'us*er'"),
        ("v2.us+er", "not a part of 'us+er'"),
        ("v2.user#", "not a part of 'user#'"),
        ("v2.**", "not a part of '**'"),
        ("v2.x{id}", "do not enclose the whole segment"),
        ("v2.{}", "do not enclose the whole segment"),
        ("v2.{a.b}", "do not enclose the whole segment"),
        ("v2.{a}{b}", "do not enclose the whole segment"),
        ("v2.{{id}}", "do not enclose the whole segment"),
        ("v2.users?a?b", "once and at the end"),
        ("v2.users.a&b", "once and at the end"),
        ("v2.users.{id}?", "empty segment"),
        ("v2.users.{id}?a&", "empty segment"),
        ("?a", "empty segment"),
        ("v2/users/+/presence", "separated by dots"),
        ("v2.users,v2.queues", "a comma separates two"),
        ("$share.group.v2", "belong to the broker"),
        ("v2.users presence", "' ' is not allowed"),
        ("v2.users.\x00", "'\\x00' is not allowed"),
        ("v2.users.\x7f", "'\\x7f' is not allowed"),
        ("v2.users.\u2028", "'\\u2028' is not allowed"),
        ("v2.users.\ud800", "'\\ud800' is not allowed"),
        ("a" * (MAX_CHARACTERS + 1), f"{MAX_CHARACTERS + 1} characters, at most {MAX_CHARACTERS}"),
    ],
)
def test_what_is_no_filter_is_said_clearly(text: str, fault: str) -> None:
    with pytest.raises(TopicFilterError) as raised:
        parse_topic_filter(text)
    assert fault in str(raised.value)
    assert len(str(raised.value)) < 2 * MAX_CHARACTERS


def test_the_longest_filter_is_allowed() -> None:
    assert one("a" * MAX_CHARACTERS).segments == ("a" * MAX_CHARACTERS,)


@given(st.text(alphabet="ab{}*+#?&./,$ \x00\ud800é"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse_topic_filter(text)
    except TopicFilterError:
        return
    assert parsed
    assert all(parse_topic_filter(str(each)) == (each,) for each in parsed)


@given(FILTERS)
def test_shown_and_subscribed_forms_parse_to_the_same_filter(topic_filter: TopicFilter) -> None:
    assert one(str(topic_filter)) == one(topic_filter.subscription()) == topic_filter


def test_the_subscription_has_stars_and_the_detail_type_has_parameters() -> None:
    assert one("a.{x}.+.#").subscription() == "a.*.*.#"
    assert one("a.{x}.+.b").detail_type == "a.{id}.{id}.b"


def test_several_filters_are_joined_without_repetition() -> None:
    assert [str(each) for each in parse_topic_filters(["a.*", "b", "a?{id}&c"])] == ["a.{id}", "b", "a.c"]


@given(FILTERS, TOPICS)
def test_the_reason_of_a_mismatch_is_there_exactly_when_it_does_not_match(
    topic_filter: TopicFilter, topic: str
) -> None:
    assert (topic_filter.mismatch(topic) is None) == naive_match(topic_filter.segments, topic)


@pytest.mark.parametrize(
    ("text", "topic", "reason"),
    [
        ("v2.users.{id}.presence", "v2.users.7.Presence", "segment 4 is 'Presence', the filter wants 'presence'"),
        ("v2.users.{id}", "v2.users.7.presence", "it has 4 segments, the filter wants 3"),
        ("v2.users.#", "v2.users", "it has 2 segments, the filter wants 3 or more"),
        ("a.b", "a", "it has 1 segment, the filter wants 2"),
    ],
)
def test_the_reason_of_a_mismatch_names_what_differs(text: str, topic: str, reason: str) -> None:
    assert one(text).mismatch(topic) == reason


@given(st.sets(FILTERS), TOPICS)
def test_the_index_finds_what_a_naive_matcher_finds(filters: set[TopicFilter], topic: str) -> None:
    found = FilterIndex((each, each) for each in filters).match(topic)
    assert sorted(found, key=str) == sorted((f for f in filters if naive_match(f.segments, topic)), key=str)


@pytest.mark.parametrize(
    ("filters", "cover"),
    [
        ([], []),
        (["a.*", "a.{id}"], ["a.*"]),
        (["a.b", "a.*", "a.#"], ["a.#"]),
        (["a.*", "a.*.#"], ["a.*", "a.*.#"]),
        (["a", "a.#"], ["a", "a.#"]),
        (["a.*.b", "a.b.*"], ["a.*.b", "a.b.*"]),
        (["a.b.#", "a.*.#", "a.b.c.#"], ["a.*.#"]),
        (["a.b", "#", "c"], ["#"]),
    ],
)
def test_a_minimal_cover(filters: list[str], cover: list[str]) -> None:
    assert {each.subscription() for each in minimal_cover(parse_topic_filters(filters))} == set(cover)


@given(st.sets(FILTERS), TOPICS)
def test_a_minimal_cover_lets_the_same_topics_through(filters: set[TopicFilter], topic: str) -> None:
    cover = minimal_cover(filters)
    assert cover <= filters
    assert any(naive_match(f.segments, topic) for f in cover) == any(naive_match(f.segments, topic) for f in filters)


@given(st.sets(FILTERS))
def test_a_minimal_cover_keeps_nothing_that_a_wider_filter_covers(filters: set[TopicFilter]) -> None:
    cover = minimal_cover(filters)
    for each in cover:
        # A filter covers another exactly if it matches it read as a topic whose wildcards are unheard-of words.
        as_topics = [
            ".".join("?" if s == "*" else s for s in each.segments).replace("#", tail) for tail in ("?", "?.?")
        ]
        wider = [f for f in cover - {each} if all(naive_match(f.segments, topic) for topic in as_topics)]
        assert wider == []


def test_the_most_specific_filter_ranks_first() -> None:
    ordered = ["a.b.c", "a.b.{id}", "a.{id}.c", "{id}.b.c", "a.b.#", "a.{id}.#", "a.#", "#"]
    assert [str(f) for f in sorted(map(one, reversed(ordered)), key=lambda f: f.rank)] == ordered
