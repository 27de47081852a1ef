"""A spool's file read by a command: beside the running daemon, or after it, damaged files included.

Opened read-only: nothing here can change it. SQLite's WAL lets the daemon write on meanwhile; what is read in one
transaction is one moment of it (https://www.sqlite.org/wal.html).
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from forwarder.errors import SpoolUnusableError
from forwarder.spool.base import DeadLetterFilter, DeadLetterRow, Discrepancy, LanePosition, Run
from forwarder.spool.database import MIGRATIONS
from forwarder.spool.dead_letter_table import DeadLetterTable
from forwarder.spool.mending import rows_past_damage
from forwarder.spool.store import Store

T = TypeVar("T")

KINDS = ("pending", "parked", "dead")
"""What an event that is not delivered yet can be."""

_TABLES = ("log", "lanes", "balances", "parked", "dead_letters", "counters")
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")  # in JSON they can only be white space
_EVENT = "received_at, time, id, topic, detail_type, detail"
_SELECTS = {
    "pending": f"SELECT seq, lanes, NULL, NULL, NULL, NULL, NULL, 0, {_EVENT} FROM log WHERE seq",
    "parked": "SELECT rowid, NULL, integration_id, reason, code, NULL, retry_at, attempts,"
    f" {_EVENT} FROM parked WHERE rowid",
    "dead": "SELECT number, NULL, integration_id, reason, code, message, dead_at, attempts,"
    f" {_EVENT} FROM dead_letters WHERE number",
}


@contextmanager
def reading(path: Path) -> "Iterator[SpoolReader]":
    """The spool's file at that path, for as long as the context lasts; raises as SpoolReader."""
    reader = SpoolReader(path)
    try:
        yield reader
    finally:
        reader.close()


class LaneFacts(msgspec.Struct, frozen=True):
    """One integration's lane: how far it is, and what of it is where. `pending` is what waits
    in the log; `oldest_received_at` is in epoch seconds."""

    integration_id: str
    position: int
    done: tuple[Run, ...]
    pending: int
    parked: int
    dead_letters: int
    oldest_received_at: float | None


class SpoolFacts(msgspec.Struct, frozen=True):
    """What is in a spool's file. Sizes are in bytes; what is not `used` will be filled again."""

    path: str
    schema_version: int
    file_bytes: int
    wal_bytes: int
    used_bytes: int
    rows: dict[str, int]
    first_seq: int | None
    last_seq: int | None
    lanes: tuple[LaneFacts, ...]


class Exported(msgspec.Struct, frozen=True, omit_defaults=True):
    """One delivery as a line of an export. `detail` is the event's own JSON, its line breaks made spaces."""

    integration: str
    state: str
    number: int
    id: str
    topic: str
    detail_type: str
    time: int
    received_at: float
    attempts: int
    detail: msgspec.Raw
    reason: str | None = None
    code: str | None = None
    message: str | None = None
    retry_at: float | None = None
    dead_at: float | None = None


class SpoolReader:
    """The file at `path`. Close it when done.

    Raises:
        SpoolUnusableError: it is not there, cannot be read at all, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = _open(path)
        try:
            self._version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            self._connection.close()
            raise _unusable(path, error) from error
        if not 1 <= self._version <= len(MIGRATIONS):
            self._connection.close()
            raise SpoolUnusableError(
                f"{path} has schema {self._version}, and this forwarder knows 1 to {len(MIGRATIONS)};"
                " use the version that wrote it."
            )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def inspect(self) -> SpoolFacts:
        """Count what is there, all at one moment.

        Raises:
            SpoolUnusableError: a damaged page is in the way.
        """
        return self._at_one_moment(self._facts)

    def verify(self) -> list[Discrepancy]:
        """Where the books say something else than what is there, all at one moment; raises as `inspect`."""
        return self._at_one_moment(lambda: Store(self._connection).verify())

    def dead_letters(self, which: DeadLetterFilter, now: float, *, after: int = 0, limit: int) -> list[DeadLetterRow]:
        """Stored dead letters after a number, in order. `now` is in epoch seconds; raises as `inspect`."""
        return self._at_one_moment(lambda: DeadLetterTable(self._connection).find(which, now, after, limit))

    def count_dead_letters(self, which: DeadLetterFilter, now: float) -> int:
        """How many are meant; raises as `inspect`."""
        return self._at_one_moment(lambda: DeadLetterTable(self._connection).count(which, now))

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file: nothing, or up to a hundred sentences. Reads all of it."""
        try:
            found = [row[0] for row in self._connection.execute("PRAGMA quick_check(100)")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def export(self, integration_id: str | None = None, kinds: Sequence[str] = KINDS) -> Iterator[Exported]:
        """Everything that has not been delivered, of one integration or all, oldest first within each kind.

        What cannot be read is passed over; `damage` tells whether that may be so. Reads in small steps, not in one
        transaction: what the daemon delivers meanwhile may be left out.
        """
        lanes = self._lanes_by_bit()
        for kind in kinds:
            for row in rows_past_damage(self._connection, _SELECTS[kind]):
                for name in _owners(row, lanes) if kind == "pending" else [row[2]]:
                    if integration_id in (None, name):
                        yield _exported(kind, name, row)

    def _at_one_moment(self, read: Callable[[], T]) -> T:
        try:
            self._connection.execute("BEGIN")
            return read()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _facts(self) -> SpoolFacts:
        store = Store(self._connection)
        wal = self.path.with_name(f"{self.path.name}-wal")
        first, last = self._connection.execute("SELECT min(seq), max(seq) FROM log").fetchone()
        return SpoolFacts(
            path=str(self.path),
            schema_version=self._version,
            file_bytes=self.path.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            used_bytes=store.bytes_used(),
            rows={name: self._one(f"SELECT count(*) FROM {name}") for name in _TABLES},
            first_seq=first,
            last_seq=last,
            lanes=tuple(self._lane(store, name, bit) for name, bit in sorted(store.bits.items())),
        )

    def _lane(self, store: Store, name: str, bit: int) -> LaneFacts:
        here = store.positions[name]
        parked = self._one("SELECT count(*) FROM parked WHERE integration_id = ?", name)
        return LaneFacts(
            integration_id=name,
            position=here.position,
            done=here.done,
            pending=store.pending(name) - parked,
            parked=parked,
            dead_letters=self._one("SELECT count(*) FROM dead_letters WHERE integration_id = ?", name),
            oldest_received_at=self._connection.execute(
                "SELECT min(t) FROM (SELECT * FROM"
                " (SELECT received_at AS t FROM log WHERE seq > ? AND lanes & ? ORDER BY seq LIMIT 1)"
                " UNION ALL SELECT min(received_at) FROM parked WHERE integration_id = ?)",
                (here.position, 1 << bit, name),
            ).fetchone()[0],
        )

    def _one(self, sql: str, *arguments: Any) -> int:
        return int(self._connection.execute(sql, arguments).fetchone()[0])

    # Reading past damage

    def _lanes_by_bit(self) -> Mapping[int, tuple[str, LanePosition]]:
        try:
            return {
                bit: (name, LanePosition(position, msgspec.json.decode(done, type=tuple[Run, ...])))
                for name, bit, position, done in self._connection.execute(
                    "SELECT integration_id, bit, position, done FROM lanes"
                )
            }
        except (sqlite3.Error, msgspec.MsgspecError):
            return {}  # every row then counts as pending, for a lane without a name


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise SpoolUnusableError(f"There is no spool at {path}.")
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        return _connect(address)
    except sqlite3.OperationalError as error:
        # Reading in WAL mode needs a -shm file beside it; where none can be made and no log waits, the file is all.
        if path.with_name(f"{path.name}-wal").exists():
            raise _unusable(path, error) from error
        return _connect(f"{address}&immutable=1")
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def _connect(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _unusable(path: Path, error: Exception) -> SpoolUnusableError:
    return SpoolUnusableError(f"{path} cannot be read: {error}.")


def _owners(row: tuple[Any, ...], lanes: Mapping[int, tuple[str, LanePosition]]) -> Iterator[str]:
    """The integrations that a row of the log is still pending for."""
    seq, mask = row[0], row[1]
    for bit in range(mask.bit_length()):
        if mask >> bit & 1:
            name, position = lanes.get(bit, (f"lane {bit}", LanePosition(0)))
            if not _finished(position, seq):
                yield name


def _finished(position: LanePosition, seq: int) -> bool:
    return seq <= position.position or any(first <= seq <= last for first, last in position.done)


def _exported(kind: str, name: str, row: tuple[Any, ...]) -> Exported:
    number, _, _, reason, code, message, at, attempts, received_at, time, event_id, topic, detail_type, detail = row
    return Exported(
        integration=name,
        state=kind,
        number=number,
        id=event_id,
        topic=topic,
        detail_type=detail_type,
        time=time,
        received_at=received_at,
        attempts=attempts,
        detail=_on_one_line(detail),
        reason=reason,
        code=code,
        message=message,
        retry_at=at if kind == "parked" else None,
        dead_at=at if kind == "dead" else None,
    )


def _on_one_line(detail: bytes) -> msgspec.Raw:
    """The JSON without line breaks; as a JSON string what is no JSON, as may be on a damaged page."""
    try:
        return msgspec.json.decode(detail.translate(_NEWLINES), type=msgspec.Raw).copy()
    except msgspec.DecodeError:
        return msgspec.Raw(msgspec.json.encode(detail.decode(errors="replace")))
