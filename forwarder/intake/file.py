"""Notifications from a file or from standard input: JSON lines, one a line. For back-filling and trying out.

A file is read from its start each time, so it does not keep what was not acknowledged: after a crash, read it again.
What was delivered before then comes twice, with the same event ids.
"""

import asyncio
import os
import select
import threading
import time
from contextlib import suppress
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from forwarder.errors import EndOfStream, IntakeError
from forwarder.intake.base import MAX_PAYLOAD_BYTES, IntakeBatch, IntakeHealth, IntakePlugin, Message
from forwarder.settings import EnvSettings

_CHUNK_BYTES = 512 * 1024
_MAX_MESSAGES = 500
_CHUNKS_AHEAD = 2
_PACE_SECONDS = 0.02  # with a rate, what falls due in this time comes as one batch


class FileSettings(EnvSettings):
    """Settings of the `file` intake."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_FILE_")

    path: str = Field("-", min_length=1, description="The file of JSON lines to read, or `-` for standard input.")
    rate: float = Field(0, ge=0, description="Events a second; 0 is as fast as they can be taken.")


class LineSplitter:
    """Makes lines of chunks. Pure. Of a line longer than a payload may be it keeps just too much to be taken."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._partial_bytes = 0

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes. Blank lines are none; of one too long we cannot know that it is."""
        head, newline, rest = chunk.partition(b"\n")
        if self._partial_bytes <= MAX_PAYLOAD_BYTES:
            self._partial.append(head)
            self._partial_bytes += len(head)
        if not newline:
            return []
        lines = [b"".join(self._partial), *rest.split(b"\n")]
        self._partial = [lines.pop()]
        self._partial_bytes = len(self._partial[0])
        return [Message(None, line) for line in lines if line and (not line.isspace() or len(line) > MAX_PAYLOAD_BYTES)]

    def end(self) -> list[Message]:
        """The last line, if it lacks its newline."""
        return self.feed(b"\n")


class FileIntake:
    """Reads on a thread of its own (a pipe may block for ever), some chunks ahead of what was received."""

    name: ClassVar[str] = "file"
    acknowledges: ClassVar[bool] = False

    def __init__(self, settings: FileSettings) -> None:
        self._path = settings.path
        self._rate = settings.rate
        self._chunks: asyncio.Queue[list[Message] | None] = asyncio.Queue()  # None: the end
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self._ready: list[Message] = []
        self._next = 0  # index into _ready
        self._handed_over = 0
        self._due_at = 0.0  # by the loop's clock
        self._last_message_at: float | None = None
        self._state = "not started"
        self._closing = asyncio.Event()
        self._bell: int | None = None  # a pipe's end that is closed to wake the thread
        self._opened = False

    async def run(self) -> None:
        """Read to the end, then wait to be cancelled.

        Raises:
            IntakeError: the file cannot be opened or read.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        self._state = f"reading {self._label}"
        closed, self._bell = os.pipe()
        threading.Thread(target=self._read, args=(loop, finished, closed), name="file-intake", daemon=True).start()
        try:
            await finished
        except OSError as error:
            self._state = f"cannot read {self._label}: {error.strerror}"
            raise IntakeError(f"FORWARDER_FILE_PATH: {self._state}") from error
        self._state = f"read {self._label} to its end"
        await loop.create_future()  # for ever

    async def receive(self) -> IntakeBatch:
        """The next lines, as many as are there or, with a rate, as many as are due.

        Raises:
            EndOfStream: all lines have been handed over, or all that had been read when the intake was closed.
        """
        while self._next == len(self._ready):
            chunk = await self._chunks.get()
            if chunk is None:
                self._chunks.put_nowait(None)
                raise EndOfStream(f"{self._label} has been {'closed' if self._closing.is_set() else 'read to its end'}")
            self._room.release()
            self._ready, self._next = chunk, 0
        if not self._rate:
            return IntakeBatch(self._take(_MAX_MESSAGES), _acknowledge)
        await self._wait_until_due()
        messages = self._take(min(_MAX_MESSAGES, max(1, int(self._rate * _PACE_SECONDS))))
        self._due_at = max(self._due_at, asyncio.get_running_loop().time() - _PACE_SECONDS) + len(messages) / self._rate
        return IntakeBatch(messages, _acknowledge)

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """Nothing to do: a file is read whole, and what no filter matches is counted as unmatched."""

    def health(self) -> IntakeHealth:
        """Connected from the start: a file has no connection to lose."""
        detail = f"{self._state}; {self._handed_over} lines handed over"
        return IntakeHealth(connected=True, detail=detail, last_message_at=self._last_message_at)

    async def close(self) -> None:
        """Have the thread end. What it has read is handed over, as fast as it is taken."""
        self._closing.set()
        self._room.release()
        if self._bell is not None:
            os.close(self._bell)
            self._bell = None
        if not self._opened:  # where there is no thread yet, or it waits for a pipe's other end
            self._chunks.put_nowait(None)

    @property
    def _label(self) -> str:
        return "standard input" if self._path == "-" else self._path

    async def _wait_until_due(self) -> None:
        delay = self._due_at - asyncio.get_running_loop().time()
        if delay > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay)

    def _take(self, count: int) -> list[Message]:
        messages = self._ready[self._next : self._next + count]
        self._next += len(messages)
        self._handed_over += len(messages)
        self._last_message_at = time.time()
        return messages

    def _read(self, loop: asyncio.AbstractEventLoop, finished: asyncio.Future[None], closed: int) -> None:
        """The thread. `closed` becomes readable when it is to end."""
        failure: OSError | None = None
        with suppress(RuntimeError):  # the loop has been closed: nobody is left to read for
            try:
                self._read_lines(loop, closed)
            except OSError as error:
                failure = error
            finally:
                os.close(closed)
            if not failure or self._closing.is_set():
                loop.call_soon_threadsafe(self._chunks.put_nowait, None)
            loop.call_soon_threadsafe(_finish, finished, failure)

    def _read_lines(self, loop: asyncio.AbstractEventLoop, closed: int) -> None:
        """Read to the end, or until closed: then nothing that has been taken out of a pipe is left in our hands but the
        start of a line. It reads without buffering, so that what a pipe has is handed over at once."""
        lines = LineSplitter()
        with open(0 if self._path == "-" else self._path, "rb", buffering=0, closefd=self._path != "-") as file:
            self._opened = True
            while closed not in select.select([file.fileno(), closed], [], [])[0]:
                chunk = file.read(_CHUNK_BYTES)
                if not chunk:
                    self._hand_over(loop, lines.end())
                    return
                self._hand_over(loop, lines.feed(chunk))

    def _hand_over(self, loop: asyncio.AbstractEventLoop, messages: list[Message]) -> None:
        if messages:
            self._room.acquire()
            loop.call_soon_threadsafe(self._chunks.put_nowait, messages)


def _finish(future: asyncio.Future[None], failure: OSError | None) -> None:
    if future.done():  # run() was cancelled
        return
    if failure:
        future.set_exception(failure)
    else:
        future.set_result(None)


async def _acknowledge() -> None:
    """Nobody to tell."""


PLUGIN = IntakePlugin(FileIntake.name, FileSettings, FileIntake)
