"""The grammar of topic filters.

A filter is segments joined by dots. A segment is a literal, compared case-sensitively; `{anything}`, `*` or `+`, which
stands for exactly one segment; or, last only, `#`, which stands for one or more. `v2.users.{id}?presence&routingStatus`
is short for two filters (the Notification API's combined form).

Parsed, every wildcard is `*`, so that two spellings of one filter are equal where it counts: in `segments`.
"""

import re
from collections.abc import Iterable

import msgspec

from forwarder.errors import ForwarderError

ANY = "*"
REST = "#"
PARAMETER = "{id}"

MAX_CHARACTERS = 200  # the Notification API's limit on a topic in a subscription, the combined form included

_PARAMETER_SEGMENT = re.compile(r"\{[^{}]+\}")
_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RESERVED = re.compile(r"[{}*+#?&/,]")


class TopicFilterError(ForwarderError):
    """A topic filter is not well-formed. The text names the filter, the fault and, where it is clear, the remedy."""

    def __init__(self, text: str, fault: str) -> None:
        shown = text if len(text) <= MAX_CHARACTERS else text[:40] + "…"
        super().__init__(f"topic filter {shown!r}: {fault}")


class TopicFilter(msgspec.Struct, frozen=True, order=False):
    """One filter. `segments` is its normal form: `*` for one segment, a last `#` for one or more, else literals."""

    segments: tuple[str, ...]

    def __str__(self) -> str:
        """The filter as it is shown to people: `v2.users.{id}.presence`."""
        return self.detail_type

    @property
    def detail_type(self) -> str:
        """The filter with its parameters as `{id}`, which is the form of a topic template."""
        return ".".join(PARAMETER if segment == ANY else segment for segment in self.segments)

    @property
    def ends_open(self) -> bool:
        """Whether the last segment is `#`, so that the filter does not say how long a topic is."""
        return self.segments[-1] == REST

    @property
    def rank(self) -> tuple[bool, tuple[int, ...], tuple[str, ...]]:
        """Sorts filters that match one topic, the most specific first: fixed length before `#`, then, segment by
        segment from the left, a literal before a parameter before `#`. No two filters have the same rank."""
        return self.ends_open, tuple(_VAGUENESS.get(segment, 0) for segment in self.segments), self.segments

    def subscription(self) -> str:
        """The filter for an intake: dotted, `*` for one segment and a last `#` for one or more."""
        return ".".join(self.segments)

    def mismatch(self, topic: str) -> str | None:
        """Why the topic does not match, in words; None when it does."""
        given = topic.split(".")
        fixed = self.segments[:-1] if self.ends_open else self.segments
        for place, (wanted, found) in enumerate(zip(fixed, given, strict=False), start=1):
            if wanted not in (ANY, found):
                return f"segment {place} is {found!r}, the filter wants {wanted!r}"
        if self.ends_open:
            least = len(self.segments)
            return None if len(given) >= least else f"it has {_count(given)}, the filter wants {least} or more"
        if len(given) != len(fixed):
            return f"it has {_count(given)}, the filter wants {len(fixed)}"
        return None


_VAGUENESS = {ANY: 1, REST: 2}


def _count(segments: list[str]) -> str:
    return f"{len(segments)} segment" + ("" if len(segments) == 1 else "s")


def parse_topic_filter(text: str) -> tuple[TopicFilter, ...]:
    """Parse one filter as a person writes it; the combined form gives several, all others give one.

    Raises:
        TopicFilterError: the text is no filter.
    """
    if not text:
        raise TopicFilterError(text, "it is empty")
    if len(text) > MAX_CHARACTERS:
        raise TopicFilterError(text, f"it has {len(text)} characters, at most {MAX_CHARACTERS} are allowed")
    if bad := _FORBIDDEN.search(text):
        raise TopicFilterError(text, f"the character {bad[0]!r} is not allowed")
    if text.startswith("$"):
        raise TopicFilterError(text, "topics that begin with '$' belong to the broker")
    stem, combined, endings = text.partition("?")
    if not combined:
        return (_parse_plain(text, text),)
    written = (f"{stem}.{ending}" for ending in endings.split("&"))
    return tuple(dict.fromkeys(_parse_plain(each, text) for each in written))


def parse_topic_filters(texts: Iterable[str]) -> tuple[TopicFilter, ...]:
    """Parse many; what is said twice counts once, in the order first said.

    Raises:
        TopicFilterError: one of them is no filter.
    """
    return tuple(dict.fromkeys(parsed for text in texts for parsed in parse_topic_filter(text)))


def _parse_plain(plain: str, text: str) -> TopicFilter:
    segments = plain.split(".")
    return TopicFilter(tuple(_parse_segment(segment, segments[i + 1 :], text) for i, segment in enumerate(segments)))


def _parse_segment(segment: str, following: list[str], text: str) -> str:
    if not segment:
        raise TopicFilterError(text, "it has an empty segment (two dots in a row, or one at an end)")
    if segment in ("*", "+") or _PARAMETER_SEGMENT.fullmatch(segment):
        return ANY
    if segment == REST:
        if following:
            raise TopicFilterError(text, "'#' is only allowed as the last segment")
        return REST
    if bad := _RESERVED.search(segment):
        raise TopicFilterError(text, _FAULTS[bad[0]].format(segment=segment))
    return segment


_IN_A_SEGMENT = "a wildcard is a whole segment, not a part of {segment!r}"
_BRACES = "in {segment!r} the braces do not enclose the whole segment, as in '{{id}}'"
_COMBINED = "{segment!r}: '?' and '&' join endings as in 'v2.users.{{id}}?presence&routingStatus', once and at the end"
_FAULTS = {
    **dict.fromkeys("*+#", _IN_A_SEGMENT),
    **dict.fromkeys("{}", _BRACES),
    **dict.fromkeys("?&", _COMBINED),
    "/": "segments are separated by dots, not by '/' as in {segment!r}",
    ",": "a comma separates two filters and cannot be in one ({segment!r})",
}
