"""The spool on SQLite: one file, one thread, group commit.

Whatever asks to write while a commit is under way waits and is written together in the next one, so that many callers
share one fsync. Only appended events need that fsync before anybody goes on; a settlement alone is written without it
and reaches the disk with the next append (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from forwarder.clock import Clock
from forwarder.errors import SpoolError
from forwarder.model import Delivery, Reason
from forwarder.spool.base import (
    END,
    Books,
    DeadLetterFilter,
    DeadLetterRow,
    Discrepancy,
    LanePosition,
    Page,
    Record,
    Run,
    Settlement,
    SpoolUsage,
    Tally,
)
from forwarder.spool.database import StateLock, mend, mended_at_start, open_database
from forwarder.spool.mending import is_damage
from forwarder.spool.store import MAX_LANES, CounterKey, Store, add_to_books

log = structlog.get_logger()

T = TypeVar("T")

MEND_PAUSE = 60.0  # seconds between two tries to mend: it copies the whole spool
DEAD_LETTER_SHARE = 0.1  # of the spool's size limit
LAG_ROWS = 2_000  # a lane that is no further behind than this hinders nobody, while there is room
CHUNK = 1_000  # rows that one maintenance transaction touches
DISK_RESERVE = 16 * 1024 * 1024
"""Bytes of the disk that appending leaves alone. Delivering takes writing, too: a disk that the log itself had filled
to the brim would stay full for ever."""
SETTLE_LINGER = 0.005  # seconds that writes nobody needs on disk wait for an append to go with


class Job(msgspec.Struct):
    """One write that somebody waits for."""

    write: Callable[[Store], Any]
    durable: bool
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Committed(msgspec.Struct):
    """What a group changed in the books, and how long its durable commits took."""

    changes: Counter[CounterKey] = msgspec.field(default_factory=Counter)
    seconds: list[float] = msgspec.field(default_factory=list)

    @classmethod
    def together(cls, parts: "Iterable[Committed]") -> "Committed":
        """What several transactions came to."""
        whole = cls()
        for part in parts:
            whole.changes.update(part.changes)
            whole.seconds.extend(part.seconds)
        return whole


class SqliteSpool:
    """See `spool/base.py`. Constructing it opens the file; use it on one event loop.

    Raises:
        SpoolUnusableError: locked by another daemon, not writable, or of a newer version.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        max_bytes: int,
        max_dead_letters: int,
        dead_letter_retention: float,
        clock: Clock,
        observe_commit: Callable[[float], None] = lambda seconds: None,
        executor: Executor | None = None,
    ) -> None:
        self._lock = StateLock(state_dir)
        try:
            self._path = state_dir / "spool.db"
            self._store = _open_store(self._path)
            self._mend_at = time.monotonic()
        except BaseException:
            self._lock.release()
            raise
        self._thread = executor or ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._clock = clock
        self._observe_commit = observe_commit
        self._max_bytes = max_bytes
        self._max_dead_letters = max_dead_letters
        self._dead_letter_retention = dead_letter_retention
        self._waiting: list[Job] = []
        self._committing: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.books: Books = self._store.books()
        self._tail = self._store.tail
        self._bytes_used = self._store.bytes_used()
        self._dead_bytes = self._store.dead.size  # bounded by themselves: they must not stop the intake
        self._disk_has_room = self._look_at_disk()

    # Group commit

    def _submit(self, write: Callable[[Store], Any], *, durable: bool = False) -> "asyncio.Future[Any]":
        if self._closed:
            raise SpoolError("The spool is closed.")
        job = Job(write, durable, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._schedule()
        return job.done

    def _schedule(self) -> None:
        """Start the next commit: at once where somebody waits for the disk, else a moment later, for more to join."""
        if self._committing is not None or not self._waiting:
            return
        if any(job.durable for job in self._waiting):
            self._commit_waiting()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_LINGER, self._commit_waiting)

    def _commit_waiting(self) -> "asyncio.Future[Committed]":
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group, self._waiting = self._waiting, []
        self._committing = asyncio.get_running_loop().run_in_executor(self._thread, self._commit_group, group)
        self._committing.add_done_callback(partial(self._committed, group))
        return self._committing

    def _commit_group(self, group: list[Job]) -> Committed:
        """On the spool's thread: one transaction for all, or, where that fails, one for each that can be had."""
        started = time.perf_counter()
        try:
            changes = self._mending(lambda: self._commit(group))
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to the caller that waits for it)
            if len(group) == 1:
                group[0].error = _as_spool_error(error)
                return Committed()
            return Committed.together(self._commit_group([job]) for job in group)
        self._disk_has_room = self._look_at_disk()
        durable = any(job.durable for job in group)
        return Committed(changes, [time.perf_counter() - started] if durable else [])

    def _commit(self, group: list[Job]) -> Counter[CounterKey]:
        store, connection = self._store, self._store.connection
        before = store.memory()
        store.changes = Counter()
        durable = any(job.durable for job in group)
        connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                job.result = job.write(store)
            store.write_counters()
            used = store.bytes_used()
            connection.execute("COMMIT")  # last: what fails after it would be taken for a failed write, and made again
        except BaseException:
            store.recall(before)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._bytes_used, self._dead_bytes = used, store.dead.size
        return store.changes

    def _committed(self, group: list[Job], committing: "asyncio.Future[Committed]") -> None:
        for key, value in committing.result().changes.items():
            add_to_books(self.books, key, value)
        for seconds in committing.result().seconds:
            self._observe_commit(seconds)
        self._tail = self._store.tail
        for job in group:
            if job.done.done():
                continue  # its caller was cancelled; the write stands
            if job.error:
                job.done.set_exception(job.error)
            else:
                job.done.set_result(job.result)
        self._committing = None
        self._schedule()

    async def _read(self, read: Callable[[Store], T]) -> T:
        if self._closed:
            raise SpoolError("The spool is closed.")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._mending, lambda: read(self._store)
            )
        except sqlite3.Error as error:
            raise SpoolError(f"The spool cannot be read now: {error}.") from error

    def _mending(self, action: Callable[[], T]) -> T:
        """On the spool's thread: do it, and where the file is found damaged, mend that and do it again."""
        try:
            return action()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) or time.monotonic() < self._mend_at:
                raise
            self._mend_at = time.monotonic() + MEND_PAUSE
            log.error("spool_damaged", path=str(self._path), error=str(error))
            self._mend()
        return action()

    def _mend(self) -> None:
        store = self._store
        lanes = {name: (bit, store.positions[name]) for name, bit in store.bits.items()}
        try:
            connection = mend(self._path, store.connection, lanes, store.tail)
        except OSError as error:
            raise SpoolError(f"The damaged spool {self._path} cannot be mended now: {error}.") from error
        self._store = Store(connection)
        self._tail = self._store.tail

    # The Spool protocol

    @property
    def tail(self) -> int:
        """See Spool."""
        return self._tail

    @property
    def has_room(self) -> bool:
        """See Spool."""
        return self._bytes_used - self._dead_bytes < self._max_bytes and self._disk_has_room

    def _look_at_disk(self) -> bool:
        """Whether there is room, on the disk or within the file, besides the reserve and for what a checkpoint is still
        to copy out of the write-ahead log. Never raises: what it looks at is already committed."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        try:
            room = shutil.disk_usage(self._path.parent).free + self._store.bytes_free()
            return room >= DISK_RESERVE + (wal.stat().st_size if wal.exists() else 0)
        except (OSError, sqlite3.Error):
            return False

    async def append(self, records: Sequence[Record], tally: Tally) -> int:
        """See Spool."""
        first: int = await self._submit(lambda store: store.append(records, tally), durable=bool(records))
        return first

    async def enlist(self, integration_id: str) -> LanePosition:
        """See Spool."""
        position: LanePosition = await self._submit(lambda store: store.enlist(integration_id), durable=True)
        return position

    def placeless(self, integration_ids: Iterable[str]) -> Sequence[str]:
        """See Spool."""
        there = self._store.bits
        return [each for each in integration_ids if each not in there][MAX_LANES - len(there) :]

    async def lanes(self) -> Sequence[str]:
        """See Spool."""
        return await self._read(lambda store: list(store.bits))

    async def read(self, integration_id: str, run: Run, limit: int) -> Page:
        """See Spool."""
        return await self._read(lambda store: store.read(integration_id, run, limit))

    async def read_parked(
        self, integration_id: str, due_by: float, limit: int
    ) -> tuple[Sequence[Delivery], float | None]:
        """See Spool."""
        return await self._read(lambda store: store.read_parked(integration_id, due_by, limit))

    async def retry_by(self, latest: float) -> None:
        """See Spool."""
        await self._submit(lambda store: store.retry_by(latest))

    async def settle(self, settlement: Settlement) -> None:
        """See Spool."""
        await self._submit(lambda store: store.settle(settlement))

    async def bury(self, integration_id: str, reason: Reason, message: str, *, up_to: int = END) -> int:
        """See Spool."""
        now = self._clock.now()
        return await self._in_chunks(
            lambda store: store.bury(integration_id, reason, message, now, up_to=up_to, limit=CHUNK), durable=True
        )

    async def forget(self, integration_id: str) -> None:
        """See Spool."""
        await self._submit(lambda store: store.forget(integration_id), durable=True)

    async def trim(self) -> int:
        """See Spool."""
        expired = DeadLetterFilter(older_than=self._dead_letter_retention)
        now = self._clock.now()
        await self._submit(lambda store: store.dead.purge(expired, now, CHUNK))
        keep = (self._max_dead_letters, int(self._max_bytes * DEAD_LETTER_SHARE), CHUNK)
        if dropped := await self._submit(lambda store: store.dead.bound(*keep)):
            log.warning("dead_letters_dropped", oldest=dropped, kept=keep[0], kept_bytes=keep[1])
        slack = LAG_ROWS if self.has_room else 0
        trimmed: int = await self._submit(lambda store: store.trim(CHUNK, slack))
        return trimmed

    async def usage(self) -> SpoolUsage:
        """See Spool."""
        oldest = await self._read(lambda store: store.oldest_received_at())
        pending = any(lane.pending for lane in self.books.lanes.values())
        return SpoolUsage(self._bytes_used, self._max_bytes, oldest if pending else None)

    async def verify(self) -> Sequence[Discrepancy]:
        """See Spool."""
        return await self._read(lambda store: store.verify())

    async def dead_letters(
        self, which: DeadLetterFilter, *, after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetterRow]:
        """See Spool."""
        now = self._clock.now()
        return await self._read(lambda store: store.dead.find(which, now, after, limit))

    async def count_dead_letters(self, which: DeadLetterFilter) -> int:
        """See Spool."""
        now = self._clock.now()
        return await self._read(lambda store: store.dead.count(which, now))

    async def redrive(self, which: DeadLetterFilter) -> int:
        """See Spool."""
        now = self._clock.now()
        # Those that die again meanwhile are not meant: else this might never end.
        up_to = await self._read(lambda store: store.dead.last())
        return await self._in_chunks(lambda store: store.redrive(which, now, up_to, CHUNK), durable=True)

    async def purge(self, which: DeadLetterFilter) -> int:
        """See Spool."""
        now = self._clock.now()
        return await self._in_chunks(lambda store: store.dead.purge(which, now, CHUNK), durable=True)

    async def _in_chunks(self, write: Callable[[Store], int], *, durable: bool) -> int:
        """Repeat until nothing is left, a transaction each, so that nobody waits long behind it."""
        total = 0
        while (count := await self._submit(write, durable=durable)) > 0:
            total += count
        return total

    async def close(self) -> None:
        """See Spool."""
        if self._closed:
            return
        while self._committing or self._waiting:
            await asyncio.wait([self._committing or self._commit_waiting()])
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.connection.close)
        self._thread.shutdown(wait=True)
        self._lock.release()


def _open_store(path: Path) -> Store:
    connection = open_database(path)
    try:
        store = Store(connection)
        store.books()
    except (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError) as error:
        log.error("spool_damaged", path=str(path), error=str(error))
        return Store(mended_at_start(path, connection))
    return store


def _as_spool_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    mapped = SpoolError(f"The spool cannot be written now: {error}.")
    mapped.__cause__ = error
    return mapped
