"""Entries as JSON lines on standard output, in the very shape EventBridge would get them. To look and to pipe."""

import asyncio
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Sequence
from typing import ClassVar

from pydantic_settings import SettingsConfigDict

from forwarder.errors import PutError
from forwarder.model import Delivery, Destination, EntryResult, Reason, Verdict
from forwarder.settings import EnvSettings
from forwarder.sinks.base import SinkContext, SinkPlugin
from forwarder.sinks.eventbridge_entry import encode_line, entry_fault, entry_size, make_entry


class StdoutSettings(EnvSettings):
    """Nothing to set."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_STDOUT_")


class StdoutSink:
    """Writes each call's lines to a file descriptor in one piece. A slow reader slows the lanes, not the loop."""

    name: ClassVar[str] = "stdout"

    def __init__(self, fd: int, max_bytes: int) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._one_at_a_time = threading.Lock()
        self._torn = False  # a failed call has left half a line behind: the next one must not continue it

    def entry_size(self, destination: Destination, delivery: Delivery) -> int:
        """As EventBridge counts it."""
        return entry_size(destination, delivery)

    def entry_fault(self, destination: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        """As EventBridge would find it, so that a trial run shows what the real one would do."""
        return entry_fault(destination, delivery, self._max_bytes)

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        """Write one line per delivery. Accepted means that the operating system has taken it.

        Raises:
            PutError: the reader has gone, or the disk behind a redirection is full (Reason.CONNECTION).
        """
        lines = b"".join(encode_line(make_entry(destination, delivery)) + b"\n" for delivery in deliveries)
        try:
            await self._write(lines)
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, type(error).__name__)
            raise PutError(Reason.CONNECTION, code, f"standard output cannot be written: {error.strerror}") from error
        return [EntryResult(Verdict.ACCEPTED, delivery.notification.id) for delivery in deliveries]

    async def _write(self, data: bytes) -> None:
        """Write on a thread of its own: a descriptor may block for ever, and a daemon thread does not hold up exit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: OSError | None) -> None:
            if done.cancelled():
                return
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)

        def write() -> None:
            error = self._write_all(data)
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(finish, error)

        threading.Thread(target=write, name="stdout-sink", daemon=True).start()
        await done

    def _write_all(self, data: bytes) -> OSError | None:
        """Write straight to the descriptor: a buffer in between would break when the interpreter ends under a write."""
        with self._one_at_a_time:
            rest = memoryview(b"\n" + data if self._torn else data)
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                    self._torn = bool(rest)
            except OSError as error:
                return error
        return None

    async def close(self) -> None:
        """Leave standard output open: it is not ours."""


def create(_settings: EnvSettings, context: SinkContext) -> StdoutSink:
    """The sink on this process's standard output."""
    return StdoutSink(sys.stdout.fileno(), context.max_bytes)


PLUGIN = SinkPlugin(name=StdoutSink.name, settings=StdoutSettings, create=create)
