"""The catalogue of known topic templates. It is incomplete by nature: unknown topics work as well."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from forwarder.rules.filter_index import FilterIndex
from forwarder.rules.topic_filter import TopicFilter, TopicFilterError, parse_topic_filter


class Catalogue:
    """The templates, such as `v2.users.{id}.presence`, sorted; `{id}` stands for one segment."""

    def __init__(self, templates: Iterable[str]) -> None:
        self.templates = tuple(sorted(set(templates)))
        self._filters = {template: _parse(template) for template in self.templates}
        # The most specific first, so that the first match decides: `v2.system.{id}.{id}` yields to all others.
        ranked = sorted(self._filters.items(), key=lambda item: item[1].rank)
        self._ranks = [template for template, _ in ranked]
        self._index = FilterIndex((parsed, rank) for rank, (_, parsed) in enumerate(ranked))

    @staticmethod
    @cache
    def load() -> "Catalogue":
        """The catalogue that comes with the program, read once."""
        return Catalogue(files("forwarder").joinpath("topics.txt").read_text(encoding="ascii").split())

    def template_of(self, topic: str) -> str | None:
        """The template of a concrete topic; None when it is not known. Of several that match, the most specific."""
        ranks = self._index.match(topic)
        return self._ranks[min(ranks)] if ranks else None

    def search(self, pattern: str) -> list[str]:
        """The templates a person means by `pattern`: a part of a template in any case (`presence`), a concrete topic,
        or a topic filter that covers them (`v2.users.#`, `v2.*.*.presence`). An empty pattern means all."""
        folded = pattern.casefold()
        wanted = {template for template in self.templates if folded in template.casefold()}
        wanted |= {self._ranks[rank] for rank in self._index.match(pattern)}
        try:
            chosen = FilterIndex((each, True) for each in parse_topic_filter(pattern))
        except TopicFilterError:
            return sorted(wanted)
        return sorted(wanted | {template for template, each in self._filters.items() if chosen.covering(each)})


def _parse(template: str) -> TopicFilter:
    (parsed,) = parse_topic_filter(template)
    return parsed
