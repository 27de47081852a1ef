"""Topic filters: parsed or refused, and matched as a matcher says that is too simple to be wrong.

The first line is a topic; the others are filters, as the value of EVENT_FILTER may have them.
"""

from forwarder.integrations.env_file import parse_filter_list
from forwarder.rules.filter_index import FilterIndex, minimal_cover
from forwarder.rules.topic_filter import TopicFilter, TopicFilterError, parse_topic_filter


def check(data: bytes) -> None:
    topic, _, text = data.decode("utf-8", "surrogateescape").partition("\n")
    filters = parsed(text)
    matching = [each for each in filters if naive_match(each.segments, topic)]
    found = FilterIndex((each, each) for each in filters).match(topic)
    assert sorted(found, key=by_rank) == sorted(matching, key=by_rank)
    assert [each for each in filters if each.mismatch(topic) is None] == matching
    cover = minimal_cover(filters)
    assert cover <= set(filters)
    assert any(naive_match(each.segments, topic) for each in cover) == bool(matching)


def parsed(text: str) -> list[TopicFilter]:
    try:
        texts = parse_filter_list(text)
    except ValueError:
        texts = tuple(text.split("\n"))
    filters: dict[TopicFilter, None] = {}
    for each in texts:
        try:
            accepted = parse_topic_filter(each)
        except TopicFilterError:
            continue
        for topic_filter in accepted:
            assert parse_topic_filter(topic_filter.subscription()) == (topic_filter,)
            filters[topic_filter] = None
    return list(filters)


def naive_match(segments: tuple[str, ...], topic: str) -> bool:
    given = topic.split(".")
    if segments[-1] == "#":
        if len(given) < len(segments):
            return False
        segments = segments[:-1]
        given = given[: len(segments)]
    return len(given) == len(segments) and all(map(same, segments, given))


def same(wanted: str, found: str) -> bool:
    return wanted in ("*", found)


def by_rank(topic_filter: TopicFilter) -> tuple[bool, tuple[int, ...], tuple[str, ...]]:
    return topic_filter.rank
