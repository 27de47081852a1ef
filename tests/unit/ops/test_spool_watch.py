"""What is known of a spool that answers, hangs, fails and answers again."""

import asyncio

import pytest

from forwarder.errors import SpoolError
from forwarder.ops import spool_watch
from forwarder.ops.spool_watch import SpoolWatch
from forwarder.spool.base import SpoolUsage

NOTHING, LITTLE, MUCH = (SpoolUsage(used, 100, None) for used in (0, 10, 90))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_watch, "PATIENCE", 0.01)


class Spool:
    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Future[SpoolUsage] = asyncio.get_running_loop().create_future()

    async def usage(self) -> SpoolUsage:
        self.asked += 1
        return await self.answer


async def known(watch: SpoolWatch) -> tuple[SpoolUsage, bool]:
    await watch.look()
    return watch.last, watch.answering


async def test_while_it_hangs_the_last_answer_stands_and_nothing_more_is_asked() -> None:
    spool = Spool()
    watch = SpoolWatch(spool.usage, NOTHING)
    assert [await known(watch) for _ in range(3)] == [(NOTHING, False)] * 3
    assert spool.asked == 1
    spool.answer.set_result(LITTLE)
    assert await known(watch) == (LITTLE, True)
    spool.answer = asyncio.get_running_loop().create_future()
    assert await known(watch) == (LITTLE, False)
    spool.answer.set_result(MUCH)
    assert await known(watch) == (MUCH, True)


async def test_all_who_look_at_once_get_one_answer() -> None:
    spool = Spool()
    watch = SpoolWatch(spool.usage, NOTHING)
    looking = [asyncio.create_task(known(watch)) for _ in range(5)]
    await asyncio.sleep(0)
    spool.answer.set_result(MUCH)
    assert await asyncio.gather(*looking) == [(MUCH, True)] * 5
    assert spool.asked == 1


async def test_an_error_is_no_answer() -> None:
    spool = Spool()
    watch = SpoolWatch(spool.usage, LITTLE)
    spool.answer.set_exception(SpoolError("I/O error"))
    assert await known(watch) == (LITTLE, False)
    spool.answer = asyncio.get_running_loop().create_future()
    spool.answer.set_result(MUCH)
    assert await known(watch) == (MUCH, True)
