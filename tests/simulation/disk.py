"""The disk beneath the spool: what is committed and what is synced, faults, and what a power cut leaves."""

import os
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from forwarder.spool import sqlite
from forwarder.spool.database import open_database
from tests.simulation.loop import Universe

_WAL_HEADER = 32
_FRAME_HEADER = 24

Copy = tuple[str, str]
"""A notification's id and the integration that it is for."""


class Truth(msgspec.Struct):
    """What is really in the database, read without a line of the spool's own code."""

    counters: Counter[tuple[str, str, str]]
    in_log: Counter[Copy]
    parked: Counter[Copy]
    dead: Counter[Copy]

    @property
    def pending(self) -> Counter[Copy]:
        """Copies that have not ended."""
        return self.in_log + self.parked

    def booked(self, name: str, integration_id: str) -> int:
        """A lane's counter, over all reasons."""
        return sum(value for (n, subject, _), value in self.counters.items() if (n, subject) == (name, integration_id))


def read_truth(connection: sqlite3.Connection) -> Truth:
    """Walk all tables."""
    counters = Counter({(n, s, r): v for n, s, r, v in connection.execute("SELECT * FROM counters")})
    in_log: Counter[Copy] = Counter()
    rows = connection.execute("SELECT seq, lanes, id FROM log").fetchall()
    for name, bit, position, done in connection.execute("SELECT * FROM lanes"):
        runs = msgspec.json.decode(done)
        for seq, mask, event_id in rows:
            finished = seq <= position or any(first <= seq <= last for first, last in runs)
            if mask >> bit & 1 and not finished:
                in_log[event_id, name] += 1
    parked = Counter(connection.execute("SELECT id, integration_id FROM parked").fetchall())
    return Truth(counters, in_log, parked, _dead(connection))


def _dead(connection: sqlite3.Connection) -> Counter[Copy]:
    return Counter(connection.execute("SELECT id, integration_id FROM dead_letters").fetchall())


class Disk:
    """One state directory through all lives of the daemon. `appended` and `synced` count the copies that were ever
    committed to the log, and of those the ones that a power cut can no longer take."""

    def __init__(self, universe: Universe, directory: Path) -> None:
        self.directory = directory
        self.full = False
        self.broken = False
        self.commits = 0
        self.appended: Counter[Copy] = Counter()
        self.synced: Counter[Copy] = Counter()
        self.received_at: dict[Copy, float] = {}
        self.committed_at: dict[Copy, float] = {}
        self.ended_before: Counter[Copy] = (
            Counter()
        )  # as dead letters that are no more: purged, or sent on their way again
        self.redriven: set[Copy] = set()
        self._redriving: list[Copy] = []  # in the open transaction
        self._removing: Counter[Copy] = Counter()  # dead letters, likewise
        self._universe = universe
        self._seen = 0
        self._unsynced: Counter[Copy] = Counter()
        self._safe_frames: tuple[bytes, int] = (b"", 0)
        self.raw: sqlite3.Connection | None = None

    @contextmanager
    def beneath(self) -> Iterator[None]:
        """Spools that are opened meanwhile are on this disk. It has no faults while they are."""
        faults = self.full, self.broken
        self.full = self.broken = False
        with patch.object(sqlite, "open_database", lambda path: self._wrap(open_database(path))):
            yield
        self.full, self.broken = faults

    def _wrap(self, raw: sqlite3.Connection) -> "FaultyConnection":
        self.raw = raw
        self._safe_frames = self._frames()[:2]  # what was there at the start, and the schema, is synced
        self._seen = raw.execute("SELECT max(seq) FROM log").fetchone()[0] or 0
        return FaultyConnection(raw, self)

    def fault(self, statement: str) -> None:
        """Raise what the disk has to say to a statement."""
        writes = statement.startswith(("INSERT", "COMMIT", "UPDATE"))
        if self.full and writes and self._universe.chance.random() < 0.5:
            raise sqlite3.OperationalError("database or disk is full")
        if self.broken and statement.startswith(("SELECT", "BEGIN", "COMMIT")) and self._universe.chance.random() < 0.3:
            raise sqlite3.OperationalError("disk I/O error")

    def committed(self, raw: sqlite3.Connection, *, synced: bool) -> None:
        """A transaction is committed: note what it appended."""
        self.commits += 1
        self._book_redriven()
        bits = raw.execute("SELECT integration_id, bit FROM lanes").fetchall()
        for seq, mask, event_id, received_at in raw.execute(
            "SELECT seq, lanes, id, received_at FROM log WHERE seq > ? ORDER BY seq", (self._seen,)
        ).fetchall():
            self._seen = seq
            for name, bit in bits:
                if mask >> bit & 1:
                    copy = (event_id, name)
                    self.appended[copy] += 1
                    self._unsynced[copy] += 1
                    self.received_at[copy] = received_at
                    self.committed_at[copy] = self._universe.now
        if synced:
            self.synced += self._unsynced
            self._unsynced.clear()
            self._safe_frames = self._frames()[:2]

    def begin(self) -> None:
        """A transaction begins."""
        self._redriving.clear()
        self._removing.clear()

    def remove(self, raw: sqlite3.Connection, delete: Callable[[], sqlite3.Cursor]) -> list[Any]:
        """Dead letters are deleted."""
        before = _dead(raw)
        rows = delete().fetchall()
        self._removing += before - _dead(raw)
        return rows

    def redrive(self, raw: sqlite3.Connection, numbers: list[int]) -> None:
        """Dead letters leave their table for the parked one."""
        for number in numbers:
            self._redriving += raw.execute("SELECT id, integration_id FROM dead_letters WHERE number = ?", (number,))

    def _book_redriven(self) -> None:
        self.ended_before += self._removing
        for copy in self._redriving:
            self.appended[copy] += 1
            self.redriven.add(copy)
            self.received_at[copy] = self._universe.wall()
        self.begin()

    def _frames(self) -> tuple[bytes, int, int]:
        """Salts and number of the write-ahead log's frames, and how many of those are in the database file already
        (https://www.sqlite.org/walformat.html, "The WAL-Index File Format")."""
        shm = self.directory / "spool.db-shm"
        if not shm.exists():
            return b"", 0, 0
        with shm.open("rb") as file:
            head = os.pread(file.fileno(), 136, 0)
        return head[32:40], struct.unpack_from("=I", head, 16)[0], struct.unpack_from("=I", head, 96)[0]

    def crash(self, *, power_cut: bool) -> None:
        """Leave behind what a killed process leaves, or what a power cut does: then of what was not synced some is
        gone."""
        database, wal = self.directory / "spool.db", self.directory / "spool.db-wal"
        salts, frames, in_database = self._frames()
        kept = {path: path.read_bytes() for path in (database, wal) if path.exists()}
        if power_cut and wal in kept:
            page_size = struct.unpack(">H", kept[database][16:18])[0]
            safe = self._safe_frames[1] if self._safe_frames[0] == salts else 0
            survive = self._universe.chance.randint(max(safe, in_database), max(safe, in_database, frames))
            kept[wal] = kept[wal][: _WAL_HEADER + survive * (_FRAME_HEADER + page_size)]
        if self.raw is None:
            return  # closed in order
        dead = _dead(self.raw)
        self.raw.close()
        self.raw = None
        for path in (database, wal, self.directory / "spool.db-shm"):
            path.unlink(missing_ok=True)
        for path, content in kept.items():
            path.write_bytes(content)
        self.ended_before -= self.read().dead - dead  # their deletion was not synced

    def read(self) -> Truth:
        """What is in the database now; also while no daemon runs."""
        if self.raw is not None:
            return read_truth(self.raw)
        connection = sqlite3.connect(self.directory / "spool.db")
        try:
            return read_truth(connection)
        finally:
            connection.close()


class _Rows(list[Any]):
    """Rows that were fetched already."""

    @property
    def rowcount(self) -> int:
        """See sqlite3."""
        return len(self)

    def fetchall(self) -> list[Any]:
        """See sqlite3."""
        return self


class FaultyConnection:
    """A SQLite connection on that disk, as far as the spool uses one."""

    def __init__(self, raw: sqlite3.Connection, disk: Disk) -> None:
        self._raw = raw
        self._disk = disk
        self._synchronous = "FULL"

    @property
    def in_transaction(self) -> bool:
        """See sqlite3."""
        return self._raw.in_transaction

    def execute(self, statement: str, arguments: Any = ()) -> Any:
        """See sqlite3."""
        self._disk.fault(statement)
        if statement.startswith("DELETE FROM dead_letters"):
            return _Rows(self._disk.remove(self._raw, lambda: self._raw.execute(statement, arguments)))
        cursor = self._raw.execute(statement, arguments)
        if statement.startswith("PRAGMA synchronous"):
            self._synchronous = statement.rpartition(" ")[2]
        if statement.startswith("BEGIN"):
            self._disk.begin()
        if statement == "COMMIT":
            self._disk.committed(self._raw, synced=self._synchronous == "FULL")
        return cursor

    def executemany(self, statement: str, arguments: Any) -> sqlite3.Cursor:
        """See sqlite3."""
        self._disk.fault(statement)
        if statement.startswith("INSERT INTO parked") and "FROM dead_letters" in statement:
            arguments = list(arguments)
            self._disk.redrive(self._raw, [row[-1] for row in arguments])
        return self._raw.executemany(statement, arguments)

    def close(self) -> None:
        """See sqlite3."""
        self._raw.close()
        self._disk.raw = None
