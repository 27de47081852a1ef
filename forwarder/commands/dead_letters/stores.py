"""Where the commands find dead letters: the running daemon, or the spool's file where none runs."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from forwarder.api.letter import Letter, as_letter
from forwarder.clock import SystemClock
from forwarder.commands.configuration import env_file_to_use
from forwarder.commands.daemon import Daemon
from forwarder.commands.output import log_to_stderr
from forwarder.errors import ForwarderError, SpoolUnusableError
from forwarder.settings import Settings
from forwarder.spool.base import DeadLetterFilter, DeadLetterRow
from forwarder.spool.reader import reading
from forwarder.spool.sqlite import SqliteSpool

_API = "/api/dead-letters"
_UNKNOWN = "there is no dead letter {}"


class DeadLetters(Protocol):
    """The dead letters of one daemon. All methods raise ForwarderError."""

    def count(self, which: DeadLetterFilter) -> int:
        """How many are meant."""
        ...

    def page(self, which: DeadLetterFilter, after: int, limit: int) -> Sequence[Letter]:
        """Those after a number, in order, at most `limit`."""
        ...

    def one(self, number: int) -> Letter:
        """The one with that number, and its event."""
        ...

    def redrive(self, numbers: Sequence[int]) -> int:
        """Have these delivered again. Returns how many there were."""
        ...

    def purge(self, numbers: Sequence[int]) -> int:
        """Delete these. Returns how many there were."""
        ...


def choose(env_file: Path | None, url: str | None) -> DeadLetters:
    """The running daemon where one answers, else the spool's file.

    Raises:
        ForwarderError: a URL was given and nothing answers there.
        ConfigurationError: the settings cannot be read.
    """
    daemon = Daemon.configured(env_file, url)
    if url is not None or daemon.answers():
        return DeadLettersApi(daemon)
    return DeadLettersFile(Settings.load(env_file_to_use(env_file)))


class DeadLettersApi:
    """The dead letters of the daemon, over its API."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def count(self, which: DeadLetterFilter) -> int:
        """See DeadLetters."""
        given = _parameters(which)
        body = given | {"all": not given, "dry_run": True}
        return int(self._daemon.change("POST", f"{_API}/redrive", body)["redriven"])

    def page(self, which: DeadLetterFilter, after: int, limit: int) -> Sequence[Letter]:
        """See DeadLetters."""
        answer = self._daemon.get(_API, **_parameters(which), after=after, limit=limit)
        return msgspec.convert(answer["dead_letters"], list[Letter])

    def one(self, number: int) -> Letter:
        """See DeadLetters."""
        found = self.page(DeadLetterFilter(ids=(number,)), 0, 1)
        if not found:
            raise ForwarderError(_UNKNOWN.format(number))
        return found[0]

    def redrive(self, numbers: Sequence[int]) -> int:
        """See DeadLetters."""
        return int(self._daemon.change("POST", f"{_API}/redrive", {"ids": list(numbers)})["redriven"])

    def purge(self, numbers: Sequence[int]) -> int:
        """See DeadLetters."""
        return int(self._daemon.change("POST", f"{_API}/purge", {"ids": list(numbers)})["purged"])


class DeadLettersFile:
    """The dead letters in the spool's file. Changing them takes the state directory's lock for that long."""

    def __init__(self, settings: Settings) -> None:
        log_to_stderr()
        self._settings = settings
        self._path = settings.state_dir / "spool.db"

    def count(self, which: DeadLetterFilter) -> int:
        """See DeadLetters."""
        with reading(self._path) as reader:
            return reader.count_dead_letters(which, time.time())

    def page(self, which: DeadLetterFilter, after: int, limit: int) -> Sequence[Letter]:
        """See DeadLetters."""
        return [as_letter(row) for row in self._rows(which, after, limit)]

    def one(self, number: int) -> Letter:
        """See DeadLetters."""
        rows = self._rows(DeadLetterFilter(ids=(number,)), 0, 1)
        if not rows:
            raise ForwarderError(_UNKNOWN.format(number))
        return as_letter(rows[0])

    def redrive(self, numbers: Sequence[int]) -> int:
        """See DeadLetters."""
        return self._change("redrive", numbers)

    def purge(self, numbers: Sequence[int]) -> int:
        """See DeadLetters."""
        return self._change("purge", numbers)

    def _rows(self, which: DeadLetterFilter, after: int, limit: int) -> Sequence[DeadLetterRow]:
        with reading(self._path) as reader:
            return reader.dead_letters(which, time.time(), after=after, limit=limit)

    def _change(self, action: str, numbers: Sequence[int]) -> int:
        async def carry_out() -> int:
            settings = self._settings
            spool = SqliteSpool(
                settings.state_dir,
                max_bytes=settings.spool_max_bytes,
                max_dead_letters=settings.dead_letter_max,
                dead_letter_retention=settings.dead_letter_retention_hours * 3600,
                clock=SystemClock(),
            )
            try:
                done: int = await getattr(spool, action)(DeadLetterFilter(ids=tuple(numbers)))
                return done
            finally:
                await spool.close()

        try:
            return asyncio.run(carry_out())
        except SpoolUnusableError as error:
            raise ForwarderError(f"{error} If it listens elsewhere, name it with --url.") from None


def _parameters(which: DeadLetterFilter) -> dict[str, Any]:
    """The filter in the API's words."""
    given = {
        "integration": which.integration_id,
        "reason": which.reason,
        "older_than": which.older_than,
        "ids": list(which.ids) if which.ids else None,
    }
    return {name: value for name, value in given.items() if value is not None}
