"""Mending a damaged spool: what can be read is copied into a new file, and the damaged one is put aside, never deleted.

SQLite says that a page is damaged when it comes upon it (SQLITE_CORRUPT, https://www.sqlite.org/rescode.html#corrupt)
and then refuses to read or write whatever lies on it, for ever. So a lane would stall on it and the log never be
trimmed. Which deliveries were lost is not known, for their rows are gone; how many of a lane were is what its books
miss once it has passed all that the log held at the time: `Store.settle` books them then.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from forwarder.spool.base import LanePosition, Run

log = structlog.get_logger()

PARTS = ("", "-wal", "-shm")
FARTHEST = 1 << 62
CHUNK = 500
Lanes = dict[str, tuple[int, LanePosition]]
"""Each lane's bit and position."""


def is_damage(error: Exception) -> bool:
    """Whether the error says that the file's content is broken, as against that it cannot be had now."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "Could not decode to UTF-8" in str(error)


def rows_past_damage(connection: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """The rows of `select`, which ends in `WHERE <its first column, a rowid>`, ascending; damaged ones left out."""
    after, limit = -1, CHUNK
    while True:
        try:
            rows = connection.execute(f"{select} > ? ORDER BY 1 LIMIT ?", (after, limit)).fetchall()
        except sqlite3.DatabaseError:
            if limit > 1:
                limit = 1  # up to the damage one by one
                continue
            behind = _behind_damage(connection, select, after)
            if behind is None:
                return
            after, limit = behind, CHUNK
            continue
        yield from rows
        if len(rows) < limit:
            return
        after = rows[-1][0]


def _behind_damage(connection: sqlite3.Connection, select: str, after: int) -> int | None:
    """The smallest number after which something can be read again: doubling steps, then bisection."""
    step = 1
    while not _readable(connection, select, after + step):
        step *= 2
        if after + step > FARTHEST:
            return None
    low, high = after + step // 2, after + step
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _readable(connection, select, middle) else (middle, high)
    return high


def _readable(connection: sqlite3.Connection, select: str, after: int) -> bool:
    try:
        connection.execute(f"{select} > ? ORDER BY 1 LIMIT 1", (after,)).fetchall()
    except sqlite3.DatabaseError:
        return False
    return True


def copy_readable(damaged: sqlite3.Connection, fresh: sqlite3.Connection, known: Lanes | None, tail: int) -> None:
    """Copy what can be read, in one transaction. `known` are the lanes where memory has them; `tail` is the last
    sequence number that was ever given out, as far as that is known."""
    fresh.execute("BEGIN IMMEDIATE")
    _copy_counters(damaged, fresh)
    lanes = _read_lanes(damaged) if known is None else known
    for table in ("log", "parked", "dead_letters") if lanes else ("dead_letters",):
        _copy_table(damaged, fresh, table)
    tail = max(tail, *(fresh.execute(f"SELECT ifnull(max(seq), 0) FROM {name}").fetchone()[0] for name in _NUMBERED))
    tail = max([tail, *(here.done[-1][1] if here.done else here.position for _, here in lanes.values())])
    # A number that no row has: every lane has still to pass it, and is then balanced.
    for number, (name, (bit, here)) in enumerate((lanes or _lanes_of_books(fresh, tail)).items()):
        fresh.execute(
            "INSERT INTO lanes VALUES (?, ?, ?, ?)",
            (name, bit if lanes else number, here.position, msgspec.json.encode(here.done)),
        )
        fresh.execute("INSERT INTO balances VALUES (?, ?)", (name, tail + 1))
    fresh.execute("COMMIT")


_NUMBERED = ("log", "parked")


def _copy_counters(damaged: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    try:
        rows = damaged.execute("SELECT name, subject, reason, value FROM counters").fetchall()
    except sqlite3.DatabaseError:
        return  # the books begin anew with what is pending
    fresh.executemany("INSERT INTO counters VALUES (?, ?, ?, ?)", rows)


def _read_lanes(damaged: sqlite3.Connection) -> Lanes:
    """The lanes by the file; none where they cannot be read, for then no row says whose it is."""
    try:
        return {
            name: (bit, LanePosition(position, msgspec.json.decode(done, type=tuple[Run, ...])))
            for name, bit, position, done in damaged.execute("SELECT integration_id, bit, position, done FROM lanes")
        }
    except (sqlite3.DatabaseError, msgspec.MsgspecError):
        return {}


def _lanes_of_books(fresh: sqlite3.Connection, tail: int) -> Lanes:
    """Lanes for those that the books know, with nothing in the log."""
    names = fresh.execute("SELECT subject FROM counters WHERE name = 'matched' LIMIT 62")
    return {name: (0, LanePosition(tail)) for (name,) in names}


def _copy_table(damaged: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> None:
    columns = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    for row in rows_past_damage(damaged, f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid"):
        try:
            fresh.execute(insert, row[1:])
        except sqlite3.IntegrityError as error:  # garbage that could be read: of another type, or twice
            log.warning("spool_row_unreadable", table=table, error=str(error))


def swap(path: Path) -> None:
    """Put a finished copy in the damaged file's place, which is moved aside. A crash in between is made good at the
    next start: a file called `.mended` is always whole, and the truth."""
    mended = beside(path, ".mended")
    if not mended.exists():
        return
    aside = beside(path, f".unreadable-{time.time_ns()}")
    for part in PARTS:
        old = path.with_name(path.name + part)
        if old.exists():
            old.rename(aside.with_name(aside.name + part))
    mended.rename(path)
    _sync_directory(path.parent)
    log.error("spool_mended", path=str(path), damaged_file=str(aside))


def beside(path: Path, suffix: str) -> Path:
    """A file next to the spool's."""
    return path.with_name(path.name + suffix)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
