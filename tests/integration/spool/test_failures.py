"""What the disk, other processes and other versions may do to the spool, and what it makes of it."""

import asyncio
import shutil
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from forwarder.errors import SpoolError, SpoolUnusableError
from forwarder.spool.base import DeadLetterFilter, Settlement, Tally
from forwarder.spool.sqlite import SqliteSpool
from tests.integration.spool.conformance import NOW, append, check_books, dead, ids, read_all, record
from tests.integration.spool.conftest import open_spool

Reopen = Callable[[SqliteSpool], Awaitable[SqliteSpool]]


async def test_a_full_disk_changes_nothing_and_passes(spool: SqliteSpool, reopen: Reopen) -> None:
    await append(spool, ["x"])
    connection = spool._store.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    before = spool.books.lanes["a"].matched
    for _ in range(3):
        with pytest.raises(SpoolError, match="full"):
            await append(spool, ["y", "z"], size=1 << 20)
    assert (spool.books.lanes["a"].matched, spool.tail) == (before, 1)
    with pytest.raises(SpoolError, match="full"):
        await append(spool, ["n"], "new-lane", size=1 << 20)
    assert "new-lane" not in await spool.lanes()
    await spool.settle(Settlement("a", (1, 1), delivered=1))  # what needs no room goes on
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await append(spool, ["y"], size=1 << 20) == 2
    await check_books(spool)
    await check_books(await reopen(spool))


async def test_one_write_that_cannot_be_made_does_not_fail_its_neighbours(spool: SqliteSpool) -> None:
    poison = append(spool, ["y"], *(f"lane-{each}" for each in range(70)))
    results = await asyncio.gather(
        append(spool, ["x"]), append(spool, ["w"]), poison, append(spool, ["z"]), return_exceptions=True
    )
    assert [each if isinstance(each, int) else type(each) for each in results] == [1, 2, SpoolError, 3]
    assert ids(await read_all(spool)) == ["x", "w", "z"]
    assert await spool.lanes() == ["a"]
    await check_books(spool)


async def test_nothing_that_fails_has_been_written(spool: SqliteSpool, reopen: Reopen) -> None:
    """A failure just before the commit, and none can come after it: it would be written twice."""
    used = spool._store.bytes_used
    spool._store.bytes_used = _fail
    with pytest.raises(SpoolError, match="disk I/O"):
        await append(spool, ["x"])
    spool._store.bytes_used = used
    assert await append(spool, ["x"]) == 1
    assert ids(await read_all(await reopen(spool))) == ["x"]


def _fail() -> int:
    raise sqlite3.OperationalError("disk I/O error")


async def test_the_size_limit_is_felt_at_once_and_lifts_when_rows_go(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=1 << 20)
    assert spool.has_room
    await append(spool, map(str, range(20)), size=1 << 16)
    assert not spool.has_room
    await spool.settle(Settlement("a", (1, 20), delivered=20))
    await spool.trim()
    assert spool.has_room
    await spool.close()


async def test_dead_letters_are_bounded_by_number_and_age(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_dead_letters=3, dead_letter_retention=100)
    await append(spool, map(str, range(6)))
    letters = [dead(each, at=NOW - (200 if each.seq == 6 else 0)) for each in await read_all(spool)]
    await spool.settle(Settlement("a", (1, 6), dead=letters))
    await spool.trim()
    kept = await spool.dead_letters(DeadLetterFilter())
    assert [row.letter.delivery.seq for row in kept] == [3, 4, 5]
    assert sum(spool.books.lanes["a"].dead_lettered.values()) == 6
    await spool.close()


async def test_dead_letters_take_a_share_of_the_room_and_never_stop_the_intake(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=2 << 20)
    for _ in range(4):
        await append(spool, ["big"] * 10, size=100_000)
        letters = [dead(each) for each in await read_all(spool)]
        await spool.settle(Settlement("a", (1, spool.tail), dead=letters))
        await spool.trim()
        assert spool.has_room
        kept = await spool.dead_letters(DeadLetterFilter())
        assert sum(len(row.letter.delivery.notification.detail) for row in kept) <= (2 << 20) * 0.1
    assert len(kept) == 2
    assert kept[-1].letter.delivery.seq == 40  # the youngest stay
    await spool.close()


async def test_two_on_one_directory(spool: SqliteSpool, tmp_path: Path, reopen: Reopen) -> None:
    with pytest.raises(SpoolUnusableError, match="Another forwarder is running"):
        open_spool(tmp_path)
    await reopen(spool)  # a closed one lets the next in


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolUnusableError, match="cannot be written"):
        open_spool(tmp_path / "file" / "state")


async def test_a_newer_schema_is_left_alone(spool: SqliteSpool, tmp_path: Path) -> None:
    await spool.close()
    connection = sqlite3.connect(tmp_path / "spool.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SpoolUnusableError, match="newer forwarder"):
        open_spool(tmp_path)
    assert listing(tmp_path) == ["lock", "spool.db"]


def listing(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


async def test_a_closed_spool_says_so(spool: SqliteSpool) -> None:
    appending = asyncio.create_task(append(spool, ["x"]))
    await asyncio.sleep(0)
    await spool.close()
    await spool.close()
    assert await appending == 1
    for refused in (append(spool, ["y"]), spool.read("a", (1, 1), 1), spool.trim()):
        with pytest.raises(SpoolError, match="closed"):
            await refused


async def test_pages_are_as_large_as_meant(spool: SqliteSpool) -> None:
    assert spool._store.connection.execute("PRAGMA page_size").fetchone() == (8192,)
    assert spool._store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


APPENDER = """
import asyncio, sys
from pathlib import Path
from tests.integration.spool.conformance import append
from tests.integration.spool.conftest import open_spool

async def main():
    spool, number = open_spool(Path(sys.argv[1])), 0
    while True:
        first = await append(spool, [f"{number}-{each}" for each in range(7)], "a", "b")
        print(first + 6, flush=True)
        number += 1

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 40, 150])
async def test_what_was_appended_survives_a_kill(tmp_path: Path, lines: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", APPENDER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    for _ in range(lines):
        acknowledged = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).split()
    await process.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    spool = open_spool(tmp_path)
    there = ids(await read_all(spool))
    assert len(there) >= acknowledged
    assert there == [f"{each // 7}-{each % 7}" for each in range(len(there))]
    assert len(there) % 7 == 0
    await check_books(spool)
    await spool.close()


async def test_every_commit_is_whole_wherever_a_crash_falls(spool: SqliteSpool, tmp_path: Path) -> None:
    """The files as they are between any two writes open as what had been committed."""
    moments: list[tuple[Path, int, int]] = []

    def photograph(pending: int) -> None:
        copy = tmp_path / f"moment-{len(moments)}"
        copy.mkdir()
        for part in tmp_path.glob("spool.db*"):
            shutil.copy(part, copy / part.name)
        moments.append((copy, spool.tail, pending))

    connection = spool._store.connection
    for number in range(6):
        await append(spool, [f"{number}-{each}" for each in range(5)])
        photograph(5 * (number + 1) - 2 * number)
        # within a transaction, its pages perhaps spilt to the file
        connection.execute("BEGIN IMMEDIATE")
        spool._store.append([record(f"torn-{each}") for each in range(3)], Tally("test", 0, 0, 3))
        photograph(5 * (number + 1) - 2 * number)
        connection.execute("ROLLBACK")
        spool._store.tail = spool.tail
        await spool.settle(Settlement("a", (5 * number + 1, 5 * number + 2), delivered=2))
    for copy, tail, pending in moments:
        again = open_spool(copy)
        assert (again.tail, again.books.lanes["a"].pending) == (tail, pending)
        await check_books(again)
        await again.close()
