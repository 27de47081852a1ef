"""All the SQL of the spool. Synchronous, and used by one thread at a time: `sqlite.py` owns the threads.

Every method that writes runs inside the transaction that `SqliteSpool` has opened; none commits.
"""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog

from forwarder.errors import SpoolError
from forwarder.model import Delivery, Reason
from forwarder.spool.base import (
    END,
    Books,
    DeadLetter,
    DeadLetterFilter,
    Discrepancy,
    IntakeBooks,
    LaneBooks,
    LanePosition,
    Page,
    Record,
    Run,
    Settlement,
    Tally,
)
from forwarder.spool.dead_letter_table import DeadLetterTable
from forwarder.spool.rows import NOTIFICATION, columns_of, delivery_of

log = structlog.get_logger()

_NOWHERE = LanePosition(-1)

CounterKey = tuple[str, str, str]  # name, subject, reason ("" where there is none)

MAX_LANES = 62  # bits of SQLite's signed 64-bit integer that stay positive
SCAN_ROWS = 4_000  # rows of the log that one read may pass over, so that no read takes long
PAGE_BYTES = 2 << 20  # of details that one read may return, so that memory does not depend on their size


class Store:
    """The tables behind one connection, and what is known in memory: the tail, the lanes' bits and positions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.bits: dict[str, int] = dict(connection.execute("SELECT integration_id, bit FROM lanes"))
        self.positions: dict[str, LanePosition] = {
            name: LanePosition(position, msgspec.json.decode(done, type=tuple[Run, ...]))
            for name, position, done in connection.execute("SELECT integration_id, position, done FROM lanes")
        }
        self.balance_at: dict[str, int] = dict(connection.execute("SELECT integration_id, seq FROM balances"))
        self.dead = DeadLetterTable(connection)
        self.swept: dict[
            int, int
        ] = {}  # by the bits of the lanes that lag behind: how far was deleted what they do not want
        self.tail = self._last_seq()
        self.changes: Counter[CounterKey] = Counter()  # of the open transaction

    def _last_seq(self) -> int:
        # A trimmed log forgets its last number, and redriven ones were never in it; what the lanes have finished with
        # is not to be numbered again.
        stored = self.connection.execute("SELECT max(seq) FROM log UNION ALL SELECT max(seq) FROM parked")
        ends = (here.done[-1][1] if here.done else here.position for here in self.positions.values())
        return max([row[0] or 0 for row in stored] + [*ends, *self.balance_at.values()])

    def memory(self) -> tuple[Any, ...]:
        """What must be as before if the open transaction fails; for `recall`."""
        lanes = (dict(self.bits), dict(self.positions), dict(self.balance_at), dict(self.swept))
        return (self.tail, self.dead.size, *lanes)

    def recall(self, memory: tuple[Any, ...]) -> None:
        """Go back to what `memory` returned."""
        self.tail, self.dead.size, self.bits, self.positions, self.balance_at, self.swept = memory

    # Books

    def books(self) -> Books:
        """All counters, read once at start-up."""
        books = Books()
        for name, subject, reason, value in self.connection.execute(
            "SELECT name, subject, reason, value FROM counters"
        ):
            add_to_books(books, (name, subject, reason), value)
        for integration_id in self.bits:
            books.lanes.setdefault(integration_id, LaneBooks())
        return books

    def count(self, name: str, subject: str, value: int, reason: str = "") -> None:
        """Change a counter within the open transaction."""
        if value:
            self.changes[name, subject, reason] += value

    def write_counters(self) -> None:
        """Put the transaction's counter changes into the table."""
        self.connection.executemany(
            "INSERT INTO counters (name, subject, reason, value) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [(*key, value) for key, value in self.changes.items()],
        )

    # The log

    def append(self, records: Sequence[Record], tally: Tally) -> int:
        """Insert the records and book them. Returns the first one's sequence number."""
        first = self.tail + 1
        rows = []
        masks: dict[tuple[str, ...], int] = {}
        matched: Counter[tuple[str, ...]] = Counter()
        for seq, record in enumerate(records, first):
            n, route = record.notification, record.route
            names = route.integration_ids
            if names not in masks:
                masks[names] = sum(1 << self._bit(name) for name in names)
            matched[names] += 1
            rows.append((seq, masks[names], n.received_at, n.time, n.id, n.topic, route.detail_type, n.detail))
        self.connection.executemany(
            f"INSERT INTO log (seq, lanes, {NOTIFICATION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
        )
        self.tail += len(rows)
        for names, value in matched.items():
            for name in names:
                self.count("matched", name, value)
        for outcome in ("malformed", "unmatched", "matched"):
            self.count(f"intake_{outcome}", tally.intake, getattr(tally, outcome))
        return first

    def _bit(self, integration_id: str) -> int:
        self.enlist(integration_id)
        return self.bits[integration_id]

    def read(self, integration_id: str, run: Run, limit: int) -> Page:
        """The integration's rows in the run, oldest first; stops early at `limit`, PAGE_BYTES or SCAN_ROWS."""
        first, last = run[0], min(run[1], run[0] + SCAN_ROWS - 1, self.tail)
        rows = self.connection.execute(
            f"SELECT seq, {NOTIFICATION} FROM log WHERE seq BETWEEN ? AND ? AND lanes & ? ORDER BY seq",
            (first, last, 1 << self.bits[integration_id]),
        )
        deliveries: list[Delivery] = []
        size = 0
        for row in rows:
            deliveries.append(delivery_of(integration_id, row[0], 0, row[1:]))
            size += len(row[-1])
            if len(deliveries) == limit or size >= PAGE_BYTES:
                return Page(deliveries, row[0])
        return Page(deliveries, max(last, first - 1))

    def first_seq(self) -> int:
        """The oldest row still in the log, or one past the tail."""
        row = self.connection.execute("SELECT min(seq) FROM log").fetchone()
        return row[0] if row[0] is not None else self.tail + 1

    def floor(self) -> int:
        """Every lane has finished with all rows up to here."""
        return min((lane.position for lane in self.positions.values()), default=self.tail)

    def trim(self, limit: int, slack: int) -> int:
        """Delete rows that nobody needs any more; looks at up to `limit` of them. Returns at how many.

        Rows beyond the floor are gone through one by one, and only where a lane lags more than `slack` rows behind.
        """
        floor, first = self.floor(), self.first_seq()
        if first <= floor:
            last = min(floor, first + limit - 1)
            self.connection.execute("DELETE FROM log WHERE seq <= ?", (last,))
            return last - first + 1
        return self._sweep(limit) if self.tail - floor > slack else 0

    def _sweep(self, limit: int) -> int:
        """Beyond the floor, delete what the lanes that lag behind do not want: else the backlog of one, however small,
        would keep all rows of all others, and fill the spool for everybody."""
        lanes = sorted((here.position, 1 << self.bits[name]) for name, here in self.positions.items())
        behind, swept = 0, {}
        done = 0
        for (position, bit), (reach, _) in itertools.pairwise(lanes):
            behind |= bit
            start = max(position, self.swept.get(behind, 0)) + 1
            last = min(reach, start + limit - done - 1)
            if start <= last:
                query = "DELETE FROM log WHERE seq BETWEEN ? AND ? AND lanes & ? = 0"
                self.connection.execute(query, (start, last, behind))
                done += last - start + 1
            swept[behind] = max(start - 1, last)
        self.swept = swept
        return done

    # Lanes

    def enlist(self, integration_id: str) -> LanePosition:
        """Find the lane, or add it at the tail."""
        if integration_id in self.positions:
            return self.positions[integration_id]
        free = next((bit for bit in range(MAX_LANES) if bit not in self.bits.values()), None)
        if free is None:
            raise SpoolError(
                f"The spool has no room for lane {integration_id}: {MAX_LANES} integrations still have events in it."
            )
        self.connection.execute(
            "INSERT INTO lanes (integration_id, bit, position, done) VALUES (?, ?, ?, ?)",
            (integration_id, free, self.tail, b"[]"),
        )
        self.bits[integration_id] = free
        self.positions[integration_id] = LanePosition(self.tail)
        return self.positions[integration_id]

    def finish(self, integration_id: str, run: Run) -> None:
        """Move a lane's position over a stretch that is finished."""
        here = self.positions[integration_id] = self.enlist(integration_id).finish(run)
        self.connection.execute(
            "UPDATE lanes SET position = ?, done = ? WHERE integration_id = ?",
            (here.position, msgspec.json.encode(here.done), integration_id),
        )

    def forget(self, integration_id: str) -> bool:
        """Drop a lane, unless it has anything pending after all."""
        if integration_id not in self.bits or self.pending(integration_id):
            return False
        self.connection.execute("DELETE FROM lanes WHERE integration_id = ?", (integration_id,))
        self.bits.pop(integration_id, None)
        self.positions.pop(integration_id, None)
        return True

    # Settling

    def settle(self, settlement: Settlement) -> None:
        """Book how one call ended."""
        name = settlement.integration_id
        if settlement.finished:
            self.finish(name, settlement.finished)
        self.count("delivered", name, settlement.delivered)
        self.count("expired", name, settlement.expired)
        for reason, value in settlement.retried.items():
            self.count("retried", name, value, reason)
        self.connection.executemany(
            "DELETE FROM parked WHERE integration_id = ? AND seq = ?", [(name, seq) for seq in settlement.unparked]
        )
        self.connection.executemany(
            f"INSERT INTO parked (integration_id, seq, attempts, retry_at, reason, code, {NOTIFICATION})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (name, p.delivery.seq, p.delivery.attempts, p.retry_at, p.reason, p.code, *columns_of(p.delivery))
                for p in settlement.parked
            ],
        )
        self._bury(settlement.dead)
        if self.positions.get(name, _NOWHERE).position >= self.balance_at.get(name, END):
            self._balance(name)

    def _balance(self, integration_id: str) -> None:
        """Once the lane has passed what the log held when it was mended, book what was lost."""
        books = self.books()
        for key, value in self.changes.items():  # those of this transaction are not in the table yet
            add_to_books(books, key, value)
        missing = books.lanes[integration_id].pending - self.pending(integration_id)
        self.count("dead_lettered", integration_id, max(0, missing), Reason.UNREADABLE)
        self.count("matched", integration_id, max(0, -missing))  # the books themselves were damaged
        self.connection.execute("DELETE FROM balances WHERE integration_id = ?", (integration_id,))
        del self.balance_at[integration_id]
        log.error("deliveries_unreadable", integration=integration_id, lost=missing)

    def read_parked(self, integration_id: str, due_by: float, limit: int) -> tuple[list[Delivery], float | None]:
        """Parked deliveries that are due, and the next retry time after them."""
        rows = self.connection.execute(
            f"SELECT retry_at, seq, attempts, {NOTIFICATION} FROM parked WHERE integration_id = ?"
            " ORDER BY retry_at, seq LIMIT ?",
            (integration_id, limit + 1),
        ).fetchall()
        due = [row for row in rows[:limit] if row[0] <= due_by]
        following = rows[len(due)][0] if len(rows) > len(due) else None
        return [delivery_of(integration_id, row[1], row[2], row[3:]) for row in due], following

    def retry_by(self, latest: float) -> None:
        """Let no parked delivery wait beyond this time."""
        self.connection.execute("UPDATE parked SET retry_at = ? WHERE retry_at > ?", (latest, latest))

    # Dead letters

    def _bury(self, letters: Iterable[DeadLetter]) -> None:
        for (integration_id, reason), value in self.dead.insert(letters).items():
            self.count("dead_lettered", integration_id, value, reason)

    def redrive(self, which: DeadLetterFilter, now: float, up_to: int, limit: int) -> int:
        """Move up to `limit` dead letters, numbered `up_to` at most, to the parked table: due now, their retention
        starting anew."""
        rows = [row for row in self.dead.find(which, now, 0, limit) if row.id <= up_to]
        for integration_id in {row.letter.delivery.integration_id for row in rows}:
            self.enlist(integration_id)
        self.connection.executemany(
            f"INSERT INTO parked (integration_id, seq, attempts, retry_at, reason, code, {NOTIFICATION})"
            " SELECT integration_id, ?, max(attempts, 1), ?, reason, code, ?, time, id, topic, detail_type, detail"
            " FROM dead_letters WHERE number = ?",
            # A place of its own in the sequence: the one it had may be in use again by a redrive of the same event.
            [(seq, now, now, row.id) for seq, row in enumerate(rows, self.tail + 1)],
        )
        self.tail += len(rows)
        self.dead.delete(row.id for row in rows)
        for name, value in Counter(row.letter.delivery.integration_id for row in rows).items():
            self.count("matched", name, value)
        return len(rows)

    def bury(self, integration_id: str, reason: Reason, message: str, now: float, *, up_to: int, limit: int) -> int:
        """Turn up to `limit` pending deliveries, numbered `up_to` at most, into dead letters. 0: none is left."""
        deliveries = self._take_parked(integration_id, up_to, limit) or self._take_from_log(
            integration_id, up_to, limit
        )
        self._bury(DeadLetter(delivery, reason, reason, message, now) for delivery in deliveries)
        return len(deliveries)

    def _take_parked(self, integration_id: str, up_to: int, limit: int) -> list[Delivery]:
        """Take the integration's first deliveries out of the parked table."""
        rows = self.connection.execute(
            f"SELECT seq, attempts, {NOTIFICATION} FROM parked WHERE integration_id = ? AND seq <= ?"
            " ORDER BY seq LIMIT ?",
            (integration_id, up_to, limit),
        ).fetchall()
        self.connection.executemany(
            "DELETE FROM parked WHERE integration_id = ? AND seq = ?", [(integration_id, row[0]) for row in rows]
        )
        return [delivery_of(integration_id, row[0], row[1], row[2:]) for row in rows]

    def _take_from_log(self, integration_id: str, up_to: int, limit: int) -> list[Delivery]:
        """Take the integration's next deliveries out of the log by moving its position over them."""
        last = min(up_to, self.tail)
        while (gap := self.enlist(integration_id).next_gap(0))[0] <= last:
            page = self.read(integration_id, (gap[0], min(gap[1], last)), limit)
            self.finish(integration_id, (gap[0], page.scanned_to))
            if page.deliveries:
                return list(page.deliveries)
        return []

    # Usage

    def verify(self) -> list[Discrepancy]:
        """Lanes whose books differ from what they hold."""
        books = self.books().lanes
        held = {integration_id: self.pending(integration_id) for integration_id in self.bits}
        return [
            Discrepancy(integration_id, lane.pending, held.get(integration_id, 0))
            for integration_id, lane in books.items()
            if lane.pending != held.get(integration_id, 0)
        ]

    def pending(self, integration_id: str) -> int:
        """Deliveries that the lane holds, in the log and parked. Reads all rows that it has not finished."""
        here = self.positions[integration_id]
        count = "SELECT count(*) FROM log WHERE seq BETWEEN ? AND ? AND lanes & ?"
        bit = 1 << self.bits[integration_id]
        (total,) = self.connection.execute(count, (here.position + 1, self.tail, bit)).fetchone()
        for run in here.done:
            total -= self.connection.execute(count, (*run, bit)).fetchone()[0]
        (parked,) = self.connection.execute(
            "SELECT count(*) FROM parked WHERE integration_id = ?", (integration_id,)
        ).fetchone()
        return int(total + parked)

    def bytes_used(self) -> int:
        """Bytes of pages in use, free ones not counted: they are filled before the file grows."""
        return self._pragma("page_count") * self._pragma("page_size") - self.bytes_free()

    def bytes_free(self) -> int:
        """Bytes of pages that are free within the file."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])

    def oldest_received_at(self) -> float | None:
        """Time of receipt of the oldest event that some lane has not finished."""
        row = self.connection.execute(
            "SELECT min(t) FROM (SELECT * FROM (SELECT received_at AS t FROM log WHERE seq > ? ORDER BY seq LIMIT 1)"
            " UNION ALL SELECT min(received_at) FROM parked)",
            (self.floor(),),
        ).fetchone()
        return row[0] if row else None


def add_to_books(books: Books, key: CounterKey, value: int) -> None:
    """Apply one counter change to the live books."""
    name, subject, reason = key
    if name.startswith("intake_"):
        intake = books.intakes.setdefault(subject, IntakeBooks())
        outcome = name.removeprefix("intake_")
        setattr(intake, outcome, getattr(intake, outcome) + value)
        return
    lane = books.lanes.setdefault(subject, LaneBooks())
    if name in ("dead_lettered", "retried"):
        by_reason: dict[Reason, int] = getattr(lane, name)
        by_reason[Reason(reason)] = by_reason.get(Reason(reason), 0) + value
    else:
        setattr(lane, name, getattr(lane, name) + value)
