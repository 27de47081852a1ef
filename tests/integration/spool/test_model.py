"""The spool against a model of it that fits on a page, through random actions, restarts and crashes."""

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forwarder.model import Delivery, Reason
from forwarder.spool.base import DeadLetter, DeadLetterFilter, Parked, Settlement
from forwarder.spool.sqlite import SqliteSpool
from tests.integration.spool.conformance import NOW, append, dead, ids, park, read_all
from tests.integration.spool.conftest import open_spool

T = TypeVar("T")

LANES = ("a", "b", "c")
lanes = st.sampled_from(LANES)
dice = st.integers(0, 2**32).map(random.Random)


class Model:
    """What should be where, by event name."""

    def __init__(self) -> None:
        self.log: dict[str, dict[str, int]] = {lane: {} for lane in LANES}  # name -> seq, not finished
        self.parked: dict[str, set[str]] = {lane: set() for lane in LANES}
        self.dead: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.ended: dict[str, Counter[str]] = {lane: Counter() for lane in LANES}
        self.matched: Counter[str] = Counter()


class SpoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.lives = 0
        self.names = 0
        self.model = Model()
        self.spool = self.run(self.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> SqliteSpool:
        return open_spool(self.root / str(self.lives))

    @initialize()
    def enlist(self) -> None:
        for lane in LANES:
            self.run(self.spool.enlist(lane))

    @rule(count=st.integers(1, 30), to=st.sets(lanes, min_size=1))
    def append(self, count: int, to: set[str]) -> None:
        names = [f"e{self.names + each}" for each in range(count)]
        self.names += count
        first = self.run(append(self.spool, names, *sorted(to)))
        for lane in to:
            self.model.matched[lane] += count
            self.model.log[lane].update(zip(names, range(first, first + count), strict=True))

    @rule(lane=lanes, chance=dice)
    def settle_a_stretch(self, lane: str, chance: random.Random) -> None:
        """Any part of what is unfinished, as a call would: out of order, with any outcome for each."""
        waiting = self.run(read_all(self.spool, lane))
        if not waiting:
            return
        start = chance.randrange(len(waiting))
        call = waiting[start : start + chance.randint(1, 12)]
        for each in call:
            del self.model.log[lane][each.notification.id]
        # A stretch may reach over rows of others, up to the next of its own.
        last = waiting[start + len(call)].seq - 1 if start + len(call) < len(waiting) else self.spool.tail
        self._settle(lane, call, (call[0].seq, chance.randint(call[-1].seq, last)), chance)

    @rule(lane=lanes, chance=dice)
    def settle_parked(self, lane: str, chance: random.Random) -> None:
        call = [*self.run(self.spool.read_parked(lane, NOW + 5, 8))[0]]
        self.model.parked[lane] -= set(ids(call))
        self._settle(lane, call, None, chance)

    def _settle(self, lane: str, call: list[Delivery], run: tuple[int, int] | None, chance: random.Random) -> None:
        ends = [chance.choice(["delivered", "delivered", "expired", "parked", "dead"]) for _ in call]
        sorted_out: dict[str, list[Delivery]] = {end: [] for end in ("delivered", "expired", "parked", "dead")}
        for delivery, end in zip(call, ends, strict=True):
            sorted_out[end].append(delivery)
        parking: list[Parked] = [park(each, NOW + chance.randint(0, 9)) for each in sorted_out["parked"]]
        letters: list[DeadLetter] = [dead(each) for each in sorted_out["dead"]]
        settlement = Settlement(
            lane,
            run,
            delivered=len(sorted_out["delivered"]),
            expired=len(sorted_out["expired"]),
            parked=parking,
            dead=letters,
            unparked=[] if run else [each.seq for each in call],
        )
        self.run(self.spool.settle(settlement))
        self.model.parked[lane] |= set(ids(sorted_out["parked"]))
        self.model.dead[lane] += ids(sorted_out["dead"])
        self.model.ended[lane].update({end: len(of) for end, of in sorted_out.items() if end != "parked"})

    @rule(lane=lanes)
    def bury(self, lane: str) -> None:
        buried = self.run(self.spool.bury(lane, Reason.SOURCE_REPLACED, "moved"))
        pending = [*self.model.log[lane], *self.model.parked[lane]]
        assert buried == len(pending)
        self.model.dead[lane] += pending
        self.model.ended[lane]["dead"] += buried
        self.model.log[lane].clear()
        self.model.parked[lane].clear()

    @rule(lane=lanes, reason=st.sampled_from([None, Reason.REFUSED]))
    def redrive(self, lane: str, reason: Reason | None) -> None:
        which = DeadLetterFilter(integration_id=lane, reason=reason)
        meant = [row.letter.delivery.notification.id for row in self.run(self.spool.dead_letters(which, limit=10_000))]
        assert self.run(self.spool.redrive(which)) == len(meant)
        self.model.matched[lane] += len(meant)
        self.model.parked[lane] |= set(meant)
        for name in meant:
            self.model.dead[lane].remove(name)

    @rule(lane=lanes)
    def purge(self, lane: str) -> None:
        assert self.run(self.spool.purge(DeadLetterFilter(integration_id=lane))) == len(self.model.dead[lane])
        self.model.dead[lane].clear()

    @rule()
    def trim(self) -> None:
        self.run(self.spool.trim())

    @rule()
    def reopen(self) -> None:
        self.run(self.spool.close())
        self.spool = self.run(self.open())

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are, the writer not closed: what a killed process leaves."""
        before, self.lives = self.root / str(self.lives), self.lives + 1
        shutil.copytree(before, self.root / str(self.lives))
        self.run(self.spool.close())
        self.spool = self.run(self.open())

    @invariant()
    def what_is_there_is_what_should_be(self) -> None:
        for lane in LANES:
            waiting = self.run(read_all(self.spool, lane))
            assert {each.notification.id: each.seq for each in waiting} == self.model.log[lane]
            assert len(waiting) == len(self.model.log[lane])
            parked = ids(self.run(self.spool.read_parked(lane, float("inf"), 10_000))[0])
            assert sorted(parked) == sorted(self.model.parked[lane])
            letters = self.run(self.spool.dead_letters(DeadLetterFilter(integration_id=lane), limit=10_000))
            assert sorted(row.letter.delivery.notification.id for row in letters) == sorted(self.model.dead[lane])

    @invariant()
    def the_books_balance(self) -> None:
        for lane, books in self.spool.books.lanes.items():
            ended = self.model.ended[lane]
            assert books.matched == self.model.matched[lane]
            assert books.delivered == ended["delivered"]
            assert books.expired == ended["expired"]
            assert sum(books.dead_lettered.values()) == ended["dead"]
            assert books.pending == len(self.model.log[lane]) + len(self.model.parked[lane])
        assert not self.run(self.spool.verify())

    def teardown(self) -> None:
        self.run(self.spool.close())
        self.runner.close()
        shutil.rmtree(self.root)


TestSpoolModel = SpoolMachine.TestCase
TestSpoolModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
