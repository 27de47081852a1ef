"""A trie over topic filters: finds all that match a topic in time that depends on the topic, not on their number."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from forwarder.rules.topic_filter import ANY, REST, TopicFilter

T = TypeVar("T")


class _Node(Generic[T]):
    """The filters that share a beginning: those that end here, those that go on with `#`, and the longer ones."""

    __slots__ = ("any", "ends", "literals", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.any: _Node[T] | None = None
        self.ends: list[T] = []
        self.rest: list[T] = []


class FilterIndex(Generic[T]):
    """Values by topic filter. Not changed after it was built."""

    def __init__(self, pairs: Iterable[tuple[TopicFilter, T]]) -> None:
        self._root: _Node[T] = _Node()
        for topic_filter, value in pairs:
            self._add(topic_filter, value)

    def match(self, topic: str) -> list[T]:
        """The values of all filters that match the topic, in an order that is the same for equal results."""
        found: list[T] = []
        nodes = [self._root]
        for segment in topic.split("."):
            following = []
            for node in nodes:
                if node.rest:
                    found += node.rest
                if (literal := node.literals.get(segment)) is not None:
                    following.append(literal)
                if (parameter := node.any) is not None:
                    following.append(parameter)
            if not following:
                return found
            nodes = following
        for node in nodes:
            found += node.ends
        return found

    def covering(self, topic_filter: TopicFilter) -> list[T]:
        """The values of all filters that match every topic that this one matches (itself too, where it is in)."""
        found: list[T] = []
        nodes = [self._root]
        for segment in topic_filter.segments:
            found += [value for node in nodes for value in node.rest]
            if segment == REST:
                return found
            literal = [node.literals[segment] for node in nodes if segment in node.literals]
            nodes = literal + [node.any for node in nodes if node.any is not None]
        return found + [value for node in nodes for value in node.ends]

    def _add(self, topic_filter: TopicFilter, value: T) -> None:
        node = self._root
        for segment in topic_filter.segments:
            if segment == REST:
                node.rest.append(value)
                return
            if segment == ANY:
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literals.setdefault(segment, _Node())
        node.ends.append(value)


def minimal_cover(filters: Iterable[TopicFilter]) -> frozenset[TopicFilter]:
    """The filters that no wider one among them covers: subscribing to these gets everything, and nothing else.

    Two that merely overlap (`a.*.b`, `a.b.*`) both stay.
    """
    distinct = frozenset(filters)
    index = FilterIndex((each, each) for each in distinct)
    return frozenset(each for each in distinct if index.covering(each) == [each])
