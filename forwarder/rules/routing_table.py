"""Which integrations get a topic, and under which detail-type. Compiled once per change of the configuration."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from forwarder.model import Route
from forwarder.rules.filter_index import FilterIndex, minimal_cover
from forwarder.rules.topic_filter import PARAMETER, TopicFilter, parse_topic_filters

CACHED_TOPICS = 16_384
CACHED_CHARACTERS = 256  # longer topics are not worth remembering, and a flood of them must not fill the memory

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")


class Templates(Protocol):
    """The catalogue, as far as routing needs it."""

    def template_of(self, topic: str) -> str | None:
        """The known template of a concrete topic."""
        ...


class _Target(msgspec.Struct, frozen=True):
    """One filter of one integration. `number` stands for it in the key of the memo."""

    number: int
    integration_id: str
    topic_filter: TopicFilter


class FilterVerdict(msgspec.Struct, frozen=True):
    """Whether one filter of one integration matches a topic; `mismatch` says why not."""

    integration_id: str
    topic_filter: str
    mismatch: str | None

    @property
    def matches(self) -> bool:
        """Whether the filter matches."""
        return self.mismatch is None


class Explanation(msgspec.Struct, frozen=True):
    """What becomes of a topic, and why. `template` is the catalogue's, None for a topic it does not know."""

    topic: str
    template: str | None
    routes: tuple[Route, ...]
    verdicts: tuple[FilterVerdict, ...]


class RoutingTable:
    """An immutable index over the filters of all integrations that take events; a change is a new table.

    What it remembers of topics seen is bounded and changes no answer. Not for use by several threads at once.
    """

    def __init__(self, targets: Sequence[_Target], templates: Templates) -> None:
        self._targets = targets
        self._templates = templates
        self._index = FilterIndex((target.topic_filter, target) for target in targets)
        self._routes: dict[str, tuple[Route, ...]] = {}
        self._shared: dict[tuple[str | None, tuple[int, ...]], tuple[Route, ...]] = {}

    @classmethod
    def compile(cls, filters: Mapping[str, Sequence[str]], templates: Templates) -> "RoutingTable":
        """Build the table from the filters, as written, by integration id. No filters: nothing ever matches.

        Raises:
            TopicFilterError: a filter is not well-formed.
        """
        return cls(list(_targets(filters)), templates)

    def match(self, topic: str) -> tuple[Route, ...]:
        """The integrations that get a notification on this topic, each once; () when there are none.

        There is one route, rarely more: integrations differ in the detail-type only on topics that the catalogue does
        not know. The detail-type is not cut to EventBridge's 128 characters: two topics could become one, and
        rules would silently stop matching. The sink refuses such an entry with the reason.
        """
        routes = self._routes.get(topic)
        if routes is None:
            routes = self._resolve(topic)
            if len(topic) <= CACHED_CHARACTERS:
                if len(self._routes) >= CACHED_TOPICS:
                    self._routes.clear()
                    self._shared.clear()
                self._routes[topic] = routes
        return routes

    def subscriptions(self) -> frozenset[str]:
        """The fewest filters that an intake must subscribe to, in the form of `Intake.subscribe`."""
        return frozenset(each.subscription() for each in minimal_cover(target.topic_filter for target in self._targets))

    def explain(self, topic: str) -> Explanation:
        """Hold the topic against every filter, one by one, and say what comes of it. Slow; for people."""
        verdicts = tuple(
            FilterVerdict(target.integration_id, str(target.topic_filter), target.topic_filter.mismatch(topic))
            for target in self._targets
        )
        return Explanation(topic, self._templates.template_of(topic), self.match(topic), verdicts)

    def _resolve(self, topic: str) -> tuple[Route, ...]:
        targets = self._index.match(topic)
        if not targets:
            return ()
        template = self._templates.template_of(topic)
        key = (template, tuple([target.number for target in targets]))
        routes = self._shared.get(key)
        if routes is None:
            routes, depend_on_topic = _route(topic, template, targets)
            if not depend_on_topic:
                self._shared[key] = routes
        return routes


def _targets(filters: Mapping[str, Sequence[str]]) -> Iterator[_Target]:
    number = 0
    for integration_id in sorted(filters):
        for topic_filter in parse_topic_filters(filters[integration_id]):
            yield _Target(number, integration_id, topic_filter)
            number += 1


def _route(topic: str, template: str | None, targets: Sequence[_Target]) -> tuple[tuple[Route, ...], bool]:
    """The routes for these matching targets, and whether they hold for this one topic only."""
    if template is not None:
        return (Route(template, tuple(sorted({target.integration_id for target in targets}))),), False
    best: dict[str, TopicFilter] = {}
    for target in sorted(targets, key=lambda each: each.topic_filter.rank):
        best.setdefault(target.integration_id, target.topic_filter)
    by_detail_type: dict[str, list[str]] = {}
    for integration_id, topic_filter in sorted(best.items()):
        detail_type = _generalised(topic) if topic_filter.ends_open else topic_filter.detail_type
        by_detail_type.setdefault(detail_type, []).append(integration_id)
    routes = tuple(Route(detail_type, tuple(ids)) for detail_type, ids in sorted(by_detail_type.items()))
    return routes, any(topic_filter.ends_open for topic_filter in best.values())


def _generalised(topic: str) -> str:
    """The topic with its UUID-like segments as `{id}`: the nearest to a template that can be known."""
    return ".".join(PARAMETER if _UUID.fullmatch(segment) else segment for segment in topic.split("."))
