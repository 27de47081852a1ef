"""Damaged files: what can be read is kept, what cannot is counted, and nothing stands still."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from forwarder.model import Reason
from forwarder.spool.base import Settlement
from forwarder.spool.sqlite import SqliteSpool
from tests.integration.spool.conformance import append, check_books, ids, park, parked, read_all
from tests.unit.scripted import status, world
from tests.virtual_time import in_virtual_time

PAGE = 8192
Reopen = Callable[[SqliteSpool], Awaitable[SqliteSpool]]


def damage(path: Path, marker: bytes) -> None:
    """Overwrite the page on which the marker is."""
    content = bytearray(path.read_bytes())
    place = content.index(marker) // PAGE * PAGE
    assert place, "the first page is the file's header"
    content[place : place + PAGE] = b"\xfe" * PAGE
    path.write_bytes(content)


def put_aside(directory: Path) -> list[Path]:
    return list(directory.glob("spool.db.unreadable-*"))


def to_disk(spool: SqliteSpool) -> None:
    """Have everything in the file itself, and nothing in memory."""
    connection = spool._store.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("PRAGMA shrink_memory")


async def finish_all(spool: SqliteSpool, lane: str) -> int:
    """Deliver what there is, as a lane does: page by page up to the tail."""
    delivered, position = 0, (await spool.enlist(lane)).position
    while position < spool.tail:
        page = await spool.read(lane, (position + 1, spool.tail), 100)
        await spool.settle(Settlement(lane, (position + 1, page.scanned_to), delivered=len(page.deliveries)))
        delivered, position = delivered + len(page.deliveries), page.scanned_to
    return delivered


async def test_a_damaged_page_under_a_running_spool(spool: SqliteSpool, tmp_path: Path, reopen: Reopen) -> None:
    await append(spool, [f"event-{each}" for each in range(300)], "a", "b", size=200)
    await append(spool, ["only-b"], "b")
    to_disk(spool)
    damage(tmp_path / "spool.db", b"event-150")
    with capture_logs() as logs:
        left = ids(await read_all(spool, "a"))
    assert {"spool_damaged", "spool_mended"} <= {entry["event"] for entry in logs}
    lost = 300 - len(left)
    assert 0 < lost < 60
    assert "event-150" not in left
    assert await append(spool, ["new"], "a") == spool.tail
    assert await finish_all(spool, "a") == 300 - lost + 1
    assert spool.books.lanes["a"].dead_lettered == {Reason.UNREADABLE: lost}
    spool = await reopen(spool)  # the other lane's loss is booked after a restart
    assert await finish_all(spool, "b") == 301 - lost
    for lane in "ab":
        assert spool.books.lanes[lane].dead_lettered == {Reason.UNREADABLE: lost}
        assert spool.books.lanes[lane].pending == 0
    await check_books(spool)
    assert await spool.trim()
    assert await spool.trim() == 0
    assert len(put_aside(tmp_path)) == 1


async def test_a_write_that_comes_upon_the_damage(spool: SqliteSpool, tmp_path: Path) -> None:
    await append(spool, [f"event-{each}" for each in range(300)], "a", size=200)
    await spool.settle(Settlement("a", (1, 300), delivered=300))
    to_disk(spool)
    damage(tmp_path / "spool.db", b"event-299")
    assert await append(spool, ["new"], "a") > 300
    assert ids(await read_all(spool)) == ["new"]
    while await spool.trim():
        pass
    assert await finish_all(spool, "a") == 1
    assert not spool.books.lanes["a"].dead_lettered
    await check_books(spool)


@pytest.mark.parametrize("marker", [b"event-0", b"event-150", b"event-299"])
async def test_damage_found_at_the_start(spool: SqliteSpool, tmp_path: Path, reopen: Reopen, marker: bytes) -> None:
    await append(spool, [f"event-{each}." for each in range(300)], "a", size=200)
    (first,) = (await spool.read("a", (200, 200), 1)).deliveries
    await spool.settle(Settlement("a", (200, 200), parked=[park(first, 0.0)]))
    await spool.settle(Settlement("a", (299, 300), delivered=2))
    await spool.close()
    damage(tmp_path / "spool.db", marker + b".")
    spool = await reopen(spool)
    assert await parked(spool) == ["event-199."]
    delivered = await finish_all(spool, "a")
    lost = spool.books.lanes["a"].dead_lettered[Reason.UNREADABLE]
    assert delivered + lost == 297
    assert spool.books.lanes["a"].pending == 1
    await check_books(spool)


async def test_lanes_that_cannot_be_read_lose_their_events_and_say_so(
    spool: SqliteSpool, tmp_path: Path, reopen: Reopen
) -> None:
    await append(spool, ["x", "y"], "a-lane-with-a-name")
    await spool.close()
    with sqlite3.connect(tmp_path / "spool.db") as connection:
        connection.execute("UPDATE lanes SET done = CAST('no json' AS BLOB)")
    connection.close()
    spool = await reopen(spool)
    assert await spool.lanes() == ["a-lane-with-a-name"]
    await append(spool, ["z"], "a-lane-with-a-name")
    assert await finish_all(spool, "a-lane-with-a-name") == 1
    books = spool.books.lanes["a-lane-with-a-name"]
    assert (books.matched, books.delivered, books.dead_lettered) == (3, 1, {Reason.UNREADABLE: 2})
    await check_books(spool)


async def test_a_file_that_is_no_database_is_put_aside(spool: SqliteSpool, tmp_path: Path, reopen: Reopen) -> None:
    await spool.close()
    (tmp_path / "spool.db").write_bytes(b"garbage" * 10_000)
    with capture_logs() as logs:
        spool = await reopen(spool)
    assert [entry["log_level"] for entry in logs] == ["error", "error"]
    assert await append(spool, ["x"]) == 1
    (aside,) = put_aside(tmp_path)
    assert aside.read_bytes().startswith(b"garbage")


async def test_a_crash_while_the_mended_file_is_put_in_place(
    spool: SqliteSpool, tmp_path: Path, reopen: Reopen
) -> None:
    await append(spool, ["x"])
    await spool.close()
    (tmp_path / "spool.db").rename(tmp_path / "spool.db.mended")
    (tmp_path / "spool.db-wal").write_bytes(b"of the damaged file")
    spool = await reopen(spool)
    assert ids(await read_all(spool)) == ["x"]


async def test_without_room_for_the_copy_it_is_tried_again_later(spool: SqliteSpool, tmp_path: Path) -> None:
    await append(spool, [f"event-{each}" for each in range(300)], "a", size=200)
    to_disk(spool)
    damage(tmp_path / "spool.db", b"event-150")
    (tmp_path / "spool.db.mending").mkdir()
    with pytest.raises(Exception, match="cannot be"):
        await read_all(spool)
    (tmp_path / "spool.db.mending").rmdir()
    spool._mend_at = 0.0
    assert 240 < len(await read_all(spool)) < 300


@in_virtual_time
async def test_a_lane_goes_on_past_the_damage(tmp_path: Path) -> None:
    async with world(tmp_path, status("a", sends=False), status("b", sends=False)) as w:
        appended = await w.append(1_000, "a", "b", size=300, offer=False)
        to_disk(w.spool)
        damage(tmp_path / "spool.db", b"e700")
        w.dispatcher.apply([status("a"), status("b")])
        await w.until(lambda: not any(w.books(lane).pending for lane in "ab"))
        for lane in "ab":
            books = w.books(lane)
            assert books.delivered + books.dead_lettered[Reason.UNREADABLE] == 1_000
            assert w.sink.sent(lane) == [each for each in appended if each in set(w.sink.sent(lane))]
        assert not await w.spool.verify()


@in_virtual_time
async def test_what_is_lost_on_disk_and_still_in_memory_is_delivered_and_not_called_lost(tmp_path: Path) -> None:
    async with world(tmp_path, status("a")) as w:
        w.sink.answer = w.sink.refuse
        appended = await w.append(1_000, size=300)
        to_disk(w.spool)
        damage(tmp_path / "spool.db", b"e500")
        (difference,) = await w.spool.verify()  # comes upon the damage
        assert difference.pending == 1_000 > difference.found > 900
        w.sink.answer = w.sink.accept
        await w.until(lambda: w.books().pending == 0)
        assert sorted(set(w.sink.sent())) == sorted(appended)
        assert (w.books().delivered, w.books().dead_lettered) == (1_000, {})
        await w.dispatcher.step()
        await w.until(lambda: not w.spool._store.balance_at)
        assert not await w.spool.verify()
