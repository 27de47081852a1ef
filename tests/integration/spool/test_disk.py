"""A disk that is nearly full: the log stops growing while what it holds can still be delivered."""

import shutil
from typing import NamedTuple

import pytest

from forwarder.spool.base import Settlement
from forwarder.spool.sqlite import DISK_RESERVE, SqliteSpool
from tests.integration.spool.conformance import append

EVENT, EVENTS = 4 * 1024, 800


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def test_the_last_of_the_disk_is_left_for_delivering(spool: SqliteSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, DISK_RESERVE))
    for _ in range(10):  # more than the write-ahead log ever holds
        await append(spool, map(str, range(EVENTS)), size=EVENT)
    assert not spool.has_room, "a checkpoint has yet to copy what is in the write-ahead log"
    await spool.settle(Settlement("a", (1, 10 * EVENTS), delivered=10 * EVENTS))
    assert not spool.has_room
    while await spool.trim():
        pass
    assert spool.has_room, "the pages that are free now are filled before the file grows"


async def test_room_on_the_disk_is_noticed_without_an_append(
    spool: SqliteSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    await append(spool, ["x"])
    assert not spool.has_room
    free = 10 * DISK_RESERVE
    await spool.trim()
    assert spool.has_room
