import pytest

from forwarder.rules.topic_filter import parse_topic_filter
from forwarder.topics import Catalogue


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_the_catalogue_comes_with_the_program(catalogue: Catalogue) -> None:
    assert len(catalogue.templates) == 237
    assert "v2.users.{id}.presence" in catalogue.templates
    assert list(catalogue.templates) == sorted(catalogue.templates)
    assert catalogue is Catalogue.load()


def test_every_template_is_a_filter_in_its_shown_form(catalogue: Catalogue) -> None:
    assert [str(parse_topic_filter(template)[0]) for template in catalogue.templates] == list(catalogue.templates)


def test_every_filled_template_resolves_to_itself(catalogue: Catalogue) -> None:
    for template in catalogue.templates:
        assert catalogue.template_of(template.replace("{id}", "3b5e-7")) == template


@pytest.mark.parametrize(
    ("topic", "template"),
    [
        ("v2.system.token_revoked.7", "v2.system.token_revoked.{id}"),
        ("v2.system.anything.7", "v2.system.{id}.{id}"),
        ("v2.telephony.providers.edges.phones.metrics", "v2.telephony.providers.edges.phones.{id}"),
        ("v2.telephony.providers.edges.7.metrics", "v2.telephony.providers.edges.{id}.metrics"),
        ("v2.users.7.Presence", None),
        ("v2.users.7", None),
        ("v2.users.7.presence.more", None),
        ("", None),
    ],
)
def test_the_most_specific_template_is_the_topics(catalogue: Catalogue, topic: str, template: str | None) -> None:
    assert catalogue.template_of(topic) == template


@pytest.mark.parametrize("pattern", ["ROUTINGstatus", "v2.users.*.routingStatus", "v2.users.{id}?routingStatus"])
def test_search_takes_a_part_or_a_filter(catalogue: Catalogue, pattern: str) -> None:
    assert catalogue.search(pattern) == ["v2.users.{id}.routingStatus"]


def test_search_takes_a_concrete_topic(catalogue: Catalogue) -> None:
    assert catalogue.search("v2.users.7.presence") == ["v2.users.{id}.presence"]


def test_search_takes_a_rest(catalogue: Catalogue) -> None:
    found = catalogue.search("v2.system.#")
    assert found == [template for template in catalogue.templates if template.startswith("v2.system.")]
    assert catalogue.search("#") == catalogue.search("") == list(catalogue.templates)


def test_search_finds_nothing_for_what_is_not_there(catalogue: Catalogue) -> None:
    assert catalogue.search("no such thing") == []
