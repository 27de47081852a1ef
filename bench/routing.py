"""Microseconds of one `RoutingTable.match`, remembered (hit) and not (miss), by the number of filters.

`python bench/routing.py`; the best of several runs' CPU time, on topics of five segments with a UUID in them.
"""

import timeit
import uuid
from collections.abc import Callable
from time import process_time

from forwarder.rules import routing_table
from forwarder.rules.routing_table import RoutingTable
from forwarder.topics import Catalogue

TOPICS = 10_000
RUNS = 7


def table_of(number: int) -> RoutingTable:
    """That many filters over ten integrations, a tenth of them on topics the catalogue does not know."""
    known = Catalogue.load().templates
    filters = [
        known[i % len(known)] if i % 10 and i < len(known) else f"v2.custom{i}.{{id}}.x" for i in range(number - 1)
    ]
    spread = {f"integration-{place}": filters[place::10] for place in range(10)}
    spread["integration-0"] += ["v2.conversations.{id}.presence.x"]
    return RoutingTable.compile(spread, Catalogue.load())


def microseconds(run: Callable[[], object]) -> float:
    return min(timeit.repeat(run, timer=process_time, number=1, repeat=RUNS)) / TOPICS * 1e6


def measure(number: int) -> str:
    table = table_of(number)
    matched = [f"v2.conversations.{uuid.uuid4()}.presence.x" for _ in range(TOPICS)]
    unmatched = [f"v2.conversations.{uuid.uuid4()}.absence.x" for _ in range(TOPICS)]

    def forget_and_match(topics: list[str]) -> None:
        table._routes.clear()  # noqa: SLF001  (what is measured is the way past the memory)
        for topic in topics:
            table.match(topic)

    miss = microseconds(lambda: forget_and_match(matched))
    miss_unmatched = microseconds(lambda: forget_and_match(unmatched))
    forget_and_match(matched)
    hit = microseconds(lambda: [table.match(topic) for topic in matched])
    compiled = min(timeit.repeat(lambda: table_of(number), timer=process_time, number=1, repeat=RUNS)) * 1e3
    return f"{number:>8} {hit:>10.3f} {miss:>14.2f} {miss_unmatched:>16.2f} {compiled:>12.1f}"


def main() -> None:
    assert TOPICS < routing_table.CACHED_TOPICS
    print(f"{'filters':>8} {'hit µs':>10} {'miss µs':>14} {'no match µs':>16} {'compile ms':>12}")
    for number in (1, 100, 1_000):
        print(measure(number))


if __name__ == "__main__":
    main()
