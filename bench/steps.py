"""Where the CPU of one event goes: each step of the item's path alone, in this process, on real parts.

python -m bench.steps
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.feeders import notifications
from bench.harness import INTEGRATIONS
from forwarder.clock import SystemClock
from forwarder.intake.base import Message
from forwarder.intake.decode import decode
from forwarder.model import Delivery, Destination, Notification
from forwarder.rules.routing_table import RoutingTable
from forwarder.sinks.eventbridge_entry import encode_body, entry_fault, entry_size, make_entry
from forwarder.spool.base import END, Record, Settlement, Tally
from forwarder.spool.sqlite import SqliteSpool
from forwarder.topics import Catalogue

EVENTS = 20_000
BATCH = 200
CALL = 20
DESTINATION = Destination("123456789012", "us-east-1", "aws.partner/genesys.com/cloud/benchmark/presence")
MAX_BYTES = 262_144


async def spent(work: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds of this process an event, all threads."""
    started = time.process_time()
    await work()
    return (time.process_time() - started) / EVENTS * 1e6


class Steps:
    """The item's path, step after step; each takes what the one before it made."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self._table = RoutingTable.compile(
            {name: [f"v2.users.{{id}}.{name}"] for name in INTEGRATIONS}, Catalogue.load()
        )
        self._messages = [Message(None, payload) for _, payload in notifications(EVENTS)]
        self._decoded: list[Notification] = []
        self._records: list[Record] = []
        self._deliveries: list[Delivery] = []

    async def decode(self) -> None:
        for message in self._messages:
            notification = decode(message, 1e9, event_id=True)
            assert isinstance(notification, Notification)
            self._decoded.append(notification)

    async def match(self) -> None:
        match = self._table.match
        self._records = [Record(each, route) for each in self._decoded for route in match(each.topic)]

    async def append(self) -> None:
        for start in range(0, EVENTS, BATCH):
            await self._spool.append(self._records[start : start + BATCH], Tally("bench", 0, 0, BATCH))

    async def read(self) -> None:
        for name in INTEGRATIONS:
            position = 0
            while position < self._spool.tail:
                page = await self._spool.read(name, (position + 1, END), 500)
                position = page.scanned_to
                self._deliveries.extend(page.deliveries)

    async def check(self) -> None:
        for delivery in self._deliveries:
            entry_size(DESTINATION, delivery)
            entry_fault(DESTINATION, delivery, MAX_BYTES)

    async def encode(self) -> None:
        for start in range(0, EVENTS, CALL):
            encode_body(make_entry(DESTINATION, each) for each in self._deliveries[start : start + CALL])

    async def settle(self) -> None:
        for start in range(0, EVENTS, CALL * len(INTEGRATIONS)):
            stretch = (start + 1, start + CALL * len(INTEGRATIONS))
            group = [Settlement(name, stretch, delivered=CALL) for name in INTEGRATIONS]
            await asyncio.gather(*(self._spool.settle(each) for each in group))

    async def trim(self) -> None:
        while await self._spool.trim():
            pass


async def measure(directory: Path) -> list[tuple[str, float]]:
    spool = SqliteSpool(
        directory, max_bytes=1 << 40, max_dead_letters=1, dead_letter_retention=1.0, clock=SystemClock()
    )
    steps = Steps(spool)
    for name in INTEGRATIONS:
        await spool.enlist(name)
    rows = {
        "decode and splice": steps.decode,
        "match": steps.match,
        f"spool: append, {BATCH} a commit": steps.append,
        "spool: read back (only a lane that is behind)": steps.read,
        "measure and check the entry": steps.check,
        "encode the call": steps.encode,
        "spool: settle, two calls a commit": steps.settle,
        "spool: trim": steps.trim,
    }
    result = [(name, await spent(step)) for name, step in rows.items()]
    await spool.close()
    return result


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="forwarder-bench-") as directory:
        rows = uvloop.run(measure(Path(directory)))
    print("| step | µs an event |\n|---|---|")
    for name, cost in rows:
        print(f"| {name} | {cost:.1f} |")
    print("\nThe intake alone: `python bench/intake_mqtt.py`; the signed call alone: `python -m bench.sink`.")


if __name__ == "__main__":
    main()
