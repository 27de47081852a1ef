import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Route
from forwarder.rules import routing_table
from forwarder.rules.routing_table import CACHED_CHARACTERS, RoutingTable
from forwarder.rules.topic_filter import TopicFilterError, parse_topic_filters
from forwarder.topics import Catalogue

UUID = "0f6a0d5e-3c2f-4b60-9d0e-0a1b2c3d4e5f"
NOTHING_KNOWN = Catalogue([])

SEGMENTS = st.sampled_from(["a", "b", "{id}"])
FILTERS = st.lists(SEGMENTS, min_size=1, max_size=4).map(".".join) | st.lists(SEGMENTS, max_size=3).map(
    lambda segments: ".".join([*segments, "#"])
)
TOPICS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5).map(".".join)


def compile_known(**filters: list[str]) -> RoutingTable:
    return RoutingTable.compile(filters, Catalogue.load())


def test_no_filters_match_nothing() -> None:
    assert compile_known().match("v2.users.7.presence") == ()
    assert compile_known(crm=[]).match("v2.users.7.presence") == ()
    assert compile_known(crm=[]).subscriptions() == frozenset()


def test_integrations_with_the_same_detail_type_share_a_route_in_order_of_their_ids() -> None:
    table = compile_known(sales=["v2.users.#"], crm=["v2.users.{id}?presence&routingStatus", "#"])
    assert table.match(f"v2.users.{UUID}.presence") == (Route("v2.users.{id}.presence", ("crm", "sales")),)


def test_a_dotted_prefix_of_a_topic_is_no_match() -> None:
    assert compile_known(crm=["v2.users.{id}"]).match(f"v2.users.{UUID}.presence") == ()


def test_a_partly_filled_filter_gives_the_template_of_the_catalogue() -> None:
    table = compile_known(crm=["v2.audits.entitytype.USER.entityid.{id}"])
    (route,) = table.match(f"v2.audits.entitytype.USER.entityid.{UUID}")
    assert route.detail_type == "v2.audits.entitytype.{id}.entityid.{id}"
    assert table.match(f"v2.audits.entitytype.QUEUE.entityid.{UUID}") == ()


@pytest.mark.parametrize(
    ("filters", "topic", "detail_type"),
    [
        (["v2.new.{thing}.x"], "v2.new.7.x", "v2.new.{id}.x"),
        (["v2.new.USER.*"], "v2.new.USER.7", "v2.new.USER.{id}"),
        (["v2.new.*.*", "v2.new.USER.*", "#"], "v2.new.USER.7", "v2.new.USER.{id}"),
        (["v2.new.a.#", "v2.new.*.*"], "v2.new.a.7", "v2.new.{id}.{id}"),
        (["v2.new.#"], f"v2.new.{UUID}.x", "v2.new.{id}.x"),
        (["v2.new.#"], f"v2.new.{UUID.upper()}.x.{UUID.replace('-', '')}", "v2.new.{id}.x.{id}"),
        (["v2.new.#"], "v2.new.7.x", "v2.new.7.x"),
        (["v2.new.#"], f"v2.new.x{UUID}", f"v2.new.x{UUID}"),
    ],
)
def test_the_detail_type_of_a_topic_the_catalogue_does_not_know(
    filters: list[str], topic: str, detail_type: str
) -> None:
    assert compile_known(crm=filters).match(topic) == (Route(detail_type, ("crm",)),)


def test_on_unknown_topics_integrations_may_differ_in_the_detail_type() -> None:
    table = compile_known(narrow=["v2.new.{id}.x"], wide=["v2.new.#"], narrow_too=["v2.new.*.x"])
    assert table.match("v2.new.7.x") == (
        Route("v2.new.7.x", ("wide",)),
        Route("v2.new.{id}.x", ("narrow", "narrow_too")),
    )


def test_topics_under_a_rest_keep_their_own_detail_types() -> None:
    table = compile_known(crm=["v2.new.#"])
    assert [table.match(f"v2.new.{word}")[0].detail_type for word in ("a", "b")] == ["v2.new.a", "v2.new.b"]


def test_known_topics_under_a_rest_keep_their_own_templates() -> None:
    table = compile_known(crm=["v2.users.#"])
    templates = [f"v2.users.{{id}}.{word}" for word in ("presence", "routingStatus")]
    assert [table.match(template.replace("{id}", UUID))[0].detail_type for template in templates] == templates


def test_a_detail_type_is_never_cut() -> None:
    topic = "v2.new." + "x" * 200
    assert compile_known(crm=["v2.new.#"]).match(topic)[0].detail_type == topic


def test_a_broken_filter_is_refused() -> None:
    with pytest.raises(TopicFilterError):
        compile_known(crm=["v2..x"])


@given(st.dictionaries(st.sampled_from("pqr"), st.lists(FILTERS, max_size=4)), st.lists(TOPICS, max_size=5))
def test_each_integration_with_any_matching_filter_gets_a_topic_once(
    filters: dict[str, list[str]], topics: list[str]
) -> None:
    table = RoutingTable.compile(filters, NOTHING_KNOWN)
    for topic in topics * 2:  # the second time from memory
        wanted = [
            integration_id
            for integration_id, texts in filters.items()
            if any(each.mismatch(topic) is None for each in parse_topic_filters(texts))
        ]
        got = [integration_id for route in table.match(topic) for integration_id in route.integration_ids]
        assert sorted(got) == sorted(wanted)


def test_what_is_remembered_is_bounded_and_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing_table, "CACHED_TOPICS", 3)
    table = compile_known(crm=["v2.users.#", "v2.new.#"])
    topics = [f"v2.users.{number}.presence" for number in range(10)] + [f"v2.new.{number}" for number in range(10)]
    first = [table.match(topic) for topic in topics]
    assert [table.match(topic) for topic in topics] == first
    assert len(table._routes) <= 3
    table.match("v2.users." + "x" * CACHED_CHARACTERS)
    assert all(len(topic) <= CACHED_CHARACTERS for topic in table._routes)


def test_the_subscriptions_are_the_fewest_that_bring_everything() -> None:
    table = compile_known(crm=["v2.users.{id}.presence", "v2.queues.{id}?a&b"], sales=["v2.users.#", "v2.queues.+.a"])
    assert table.subscriptions() == {"v2.users.#", "v2.queues.*.a", "v2.queues.*.b"}


def test_an_explanation_names_every_filter_and_what_differs() -> None:
    table = compile_known(crm=["v2.users.{id}.presence", "v2.queues.#"], sales=[])
    told = table.explain("v2.users.7.presence")
    assert told.template == "v2.users.{id}.presence"
    assert told.routes == table.match("v2.users.7.presence")
    assert [(each.integration_id, each.topic_filter, each.matches) for each in told.verdicts] == [
        ("crm", "v2.users.{id}.presence", True),
        ("crm", "v2.queues.#", False),
    ]
    assert told.verdicts[1].mismatch == "segment 2 is 'users', the filter wants 'queues'"
