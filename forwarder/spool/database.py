"""Opening the spool's database file: the lock, the schema's version, and what to do with a file that is damaged."""

import fcntl
import sqlite3
from importlib.resources import files
from pathlib import Path

import structlog

from forwarder.errors import SpoolUnusableError
from forwarder.spool.mending import PARTS, Lanes, beside, copy_readable, is_damage, swap

log = structlog.get_logger()

MIGRATIONS = ("schema.sql",)
"""Scripts beside this file; the n-th brings a database from version n-1 to n. The first makes it."""

PRAGMAS = (  # in this order: once in WAL mode, the page size is fixed
    "page_size = 8192",  # events are some kilobytes: fewer, fuller pages than SQLite's default 4096
    "journal_mode = WAL",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "journal_size_limit = 67108864",
)


class StateLock:
    """One daemon per state directory: an flock that the kernel drops with the process."""

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / "lock"
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w")
        except OSError as error:
            raise SpoolUnusableError(
                f"The state directory {state_dir} cannot be written: {error.strerror}."
                " Give this user write access or set FORWARDER_STATE_DIR."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise SpoolUnusableError(
                f"Another forwarder is running on the state directory {state_dir}."
                " Stop it, or give this one its own FORWARDER_STATE_DIR."
            ) from error

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the spool's database, and bring it to this version's schema.

    A file that is damaged is mended (see mending.py), which says so loudly: the daemon does not end in a start-up loop.

    Raises:
        SpoolUnusableError: the file is of a newer version, or the directory cannot be written.
    """
    try:
        swap(path)
        return _open(path)
    except (sqlite3.Error, OSError) as error:
        if not is_damage(error):
            raise SpoolUnusableError(f"The spool {path} cannot be opened: {error}.") from error
        log.error("spool_damaged", path=str(path), error=str(error))
        return mended_at_start(path, sqlite3.connect(path, isolation_level=None))


def mended_at_start(path: Path, damaged: sqlite3.Connection) -> sqlite3.Connection:
    """Mend the database when nothing is known of it but what it says itself. Raises SpoolUnusableError."""
    try:
        return mend(path, damaged)
    except (sqlite3.Error, OSError) as error:
        raise SpoolUnusableError(f"The damaged spool {path} cannot be mended: {error}.") from error


def mend(path: Path, damaged: sqlite3.Connection, known: Lanes | None = None, tail: int = 0) -> sqlite3.Connection:
    """Copy what can be read of a damaged database into a new one, put that in its place and open it. See mending.py.

    Raises:
        sqlite3.Error, OSError: not now, such as for want of disk space. The damaged file is where it was, and so is
            its connection, unless the copy had been finished.
    """
    copy = beside(path, ".mending")
    for part in PARTS:
        copy.with_name(copy.name + part).unlink(missing_ok=True)
    fresh = _open(copy)
    try:
        copy_readable(damaged, fresh, known, tail)
    finally:
        fresh.close()
    damaged.close()
    copy.rename(beside(path, ".mended"))
    swap(path)
    return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    # The connection is made here and used on the spool's own thread.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise SpoolUnusableError(
                f"The spool {path} was written by a newer forwarder (schema {version},"
                f" this one knows {len(MIGRATIONS)}). Run that version, or set FORWARDER_STATE_DIR to an empty one."
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            text = files("forwarder.spool").joinpath(script).read_text()
            connection.executescript(f"BEGIN IMMEDIATE; {text}; PRAGMA user_version = {number}; COMMIT;")
        connection.execute("SELECT count(*) FROM lanes").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
