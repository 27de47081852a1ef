"""Mending a spool while no daemon runs: keep what can be read of a damaged file, and set the books right."""

import sqlite3
from collections import Counter
from pathlib import Path

import msgspec

from forwarder.errors import SpoolUnusableError
from forwarder.model import Reason
from forwarder.spool.base import Discrepancy
from forwarder.spool.database import StateLock, mended_at_start, open_database
from forwarder.spool.reader import reading
from forwarder.spool.store import Store


class Repair(msgspec.Struct, frozen=True):
    """What was done. `damage` is what was wrong with the file, which is then kept beside the mended one; `mended` are
    the books that were set right."""

    damage: tuple[str, ...]
    mended: tuple[Discrepancy, ...]


def repair(state_dir: Path) -> Repair:
    """Mend the spool in the state directory, if there is anything to mend.

    The daemon mends what it comes upon by itself (see mending.py); this looks at every page, and books what was lost
    with damaged ones at once, as dead-lettered with the reason `unreadable`.

    Raises:
        SpoolUnusableError: there is none, a daemon is running on it, or it cannot be mended now.
    """
    path = state_dir / "spool.db"
    if not path.is_file():
        raise SpoolUnusableError(f"There is no spool at {path}.")
    lock = StateLock(state_dir)
    try:
        with reading(path) as reader:
            damage = tuple(reader.damage())
        connection = mended_at_start(path, _connect(path)) if damage else open_database(path)
        try:
            return Repair(damage, _mend_books(connection))
        finally:
            connection.close()
    finally:
        lock.release()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _mend_books(connection: sqlite3.Connection) -> tuple[Discrepancy, ...]:
    """Set the books right by what is there."""
    store = Store(connection)
    found = tuple(store.verify())
    store.changes = Counter()
    for each in found:
        store.count("dead_lettered", each.integration_id, max(0, each.pending - each.found), Reason.UNREADABLE)
        store.count("matched", each.integration_id, max(0, each.found - each.pending))
    connection.execute("BEGIN IMMEDIATE")
    store.write_counters()
    connection.execute("DELETE FROM balances")  # nothing is left to be found missing later
    connection.execute("COMMIT")
    return found
