"""The table of dead letters: found, counted, deleted, and kept within bounds. Synchronous, as `store.py` is."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from forwarder.model import Reason
from forwarder.spool.base import DeadLetter, DeadLetterFilter, DeadLetterRow
from forwarder.spool.rows import NOTIFICATION, columns_of, delivery_of


class DeadLetterTable:
    """`size` is the bytes of all details in it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.size: int = connection.execute("SELECT coalesce(sum(length(detail)), 0) FROM dead_letters").fetchone()[0]

    def insert(self, letters: Iterable[DeadLetter]) -> Counter[tuple[str, Reason]]:
        """Store dead letters. Returns how many, by integration and reason, for the books."""
        counted: Counter[tuple[str, Reason]] = Counter()
        for letter in letters:
            delivery = letter.delivery
            self.connection.execute(
                "INSERT INTO dead_letters"
                f" (integration_id, seq, attempts, dead_at, reason, code, message, {NOTIFICATION})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    delivery.integration_id,
                    delivery.seq,
                    delivery.attempts,
                    letter.dead_at,
                    letter.reason,
                    letter.code,
                    letter.message,
                    *columns_of(delivery),
                ),
            )
            self.size += len(delivery.notification.detail)
            counted[delivery.integration_id, letter.reason] += 1
        return counted

    def find(self, which: DeadLetterFilter, now: float, after: int, limit: int) -> list[DeadLetterRow]:
        """Stored dead letters after a number, in order."""
        clause, arguments = _where(which, now)
        rows = self.connection.execute(
            "SELECT number, integration_id, seq, attempts, dead_at, reason, code, message,"
            f" {NOTIFICATION} FROM dead_letters WHERE number > ?{clause} ORDER BY number LIMIT ?",
            (after, *arguments, limit),
        )
        return [
            DeadLetterRow(
                row[0],
                DeadLetter(
                    delivery_of(row[1], row[2], row[3], row[8:]), Reason(row[5]), row[6], row[7], dead_at=row[4]
                ),
            )
            for row in rows
        ]

    def count(self, which: DeadLetterFilter, now: float) -> int:
        """How many dead letters are meant."""
        clause, arguments = _where(which, now)
        counted: int = self.connection.execute(
            f"SELECT count(*) FROM dead_letters WHERE number > 0{clause}", arguments
        ).fetchone()[0]
        return counted

    def last(self) -> int:
        """The highest number of a dead letter, 0 where there is none."""
        return self.connection.execute("SELECT max(number) FROM dead_letters").fetchone()[0] or 0

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete these."""
        self._delete("SELECT value FROM json_each(?)", (msgspec.json.encode(list(numbers)).decode(),))

    def purge(self, which: DeadLetterFilter, now: float, limit: int) -> int:
        """Delete up to `limit` of those that are meant."""
        clause, arguments = _where(which, now)
        query = f"SELECT number FROM dead_letters WHERE number > 0{clause} ORDER BY number LIMIT ?"
        return self._delete(query, (*arguments, limit))

    def bound(self, keep: int, keep_bytes: int, limit: int) -> int:
        """Delete the oldest, up to `limit`, while there are more than `keep` or they have more than `keep_bytes`."""
        excess = self.count(DeadLetterFilter(), 0.0) - keep
        excess_bytes = self.size - keep_bytes
        doomed: list[int] = []
        rows = self.connection.execute(
            "SELECT number, length(detail) FROM dead_letters ORDER BY number LIMIT ?", (limit,)
        )
        for number, size in rows:
            if len(doomed) >= excess and excess_bytes <= 0:
                break
            doomed.append(number)
            excess_bytes -= size
        self.delete(doomed)
        return len(doomed)

    def _delete(self, numbers: str, arguments: tuple[Any, ...]) -> int:
        query = f"DELETE FROM dead_letters WHERE number IN ({numbers}) RETURNING length(detail)"
        sizes = [row[0] for row in self.connection.execute(query, arguments)]
        self.size -= sum(sizes)
        return len(sizes)


def _where(which: DeadLetterFilter, now: float) -> tuple[str, list[Any]]:
    clauses: list[tuple[str, Any]] = []
    if which.integration_id is not None:
        clauses.append((" AND integration_id = ?", which.integration_id))
    if which.reason is not None:
        clauses.append((" AND reason = ?", which.reason))
    if which.older_than is not None:
        clauses.append((" AND dead_at < ?", now - which.older_than))
    if which.ids is not None:
        clauses.append((" AND number IN (SELECT value FROM json_each(?))", msgspec.json.encode(which.ids).decode()))
    return "".join(clause for clause, _ in clauses), [value for _, value in clauses]
