"""What an intake is. A new one is one file beside this one and one line in `plugins.py` (or an entry point)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from forwarder.settings import EnvSettings

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""A longer message is malformed. No entry that AWS takes is near it; it bounds the memory one message can claim."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as it came. `topic` is in dotted form where the transport names one, else None (then the
    notification's own `topicName` says it). Of a payload that is too long, `left_out` bytes were not kept."""

    topic: str | None
    payload: bytes
    left_out: int = 0

    @property
    def size(self) -> int:
        """The payload's length in bytes as it came."""
        return len(self.payload) + self.left_out


class IntakeBatch(msgspec.Struct, frozen=True):
    """What the intake had ready, in order, and the one way to say that all of it is safe.

    The receiver calls `acknowledge` once, after the spool's commit. An intake that is never told redelivers (if its
    stream can). `acknowledge` must not raise because the connection has gone: the stream will simply redeliver.
    """

    messages: Sequence[Message]
    acknowledge: Callable[[], Awaitable[None]]


class IntakeHealth(msgspec.Struct, frozen=True):
    """What `/readyz`, `/api/status` and the metrics say of an intake. Times are epoch seconds."""

    connected: bool
    detail: str
    reconnects: int = 0
    last_message_at: float | None = None
    lost_seconds: float = 0.0  # for streams without acknowledgement: time disconnected, in which events may be lost


class Intake(Protocol):
    """A stream of notifications.

    `run` keeps the connection alive for ever: it reconnects with backoff and jitter, logs each change once, and
    returns or raises only when cancelled, or with IntakeError where waiting cannot help. `receive` and `subscribe` may
    be called at any time, connected or not.
    """

    name: ClassVar[str]
    """The plug-in's name, and the `intake` label of the metrics."""

    acknowledges: ClassVar[bool]
    """Whether the stream keeps what has not been acknowledged. Where False, the loss window is counted and told, and a
    daemon that stops closes the intake first and receives until EndOfStream: what was read exists nowhere else."""

    async def run(self) -> None:
        """Keep the stream open until cancelled."""
        ...

    async def receive(self) -> IntakeBatch:
        """Wait for at least one message, then return what is ready without waiting for more (at most some hundred
        messages and some megabytes). Not reading is back-pressure: the intake must then stop reading its socket while
        its keep-alive goes on. Cancelling loses nothing.

        Raises:
            EndOfStream: everything has been handed over and there will be no more: the stream has ended or, where it
                does not keep what is not acknowledged, the intake has been closed.
        """
        ...

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """Say which topics are wanted from now on, as dotted filters with `*` for one segment and a last `#` for one
        or more. Returns at once; the intake brings its subscriptions in line, now and after every reconnect."""
        ...

    def health(self) -> IntakeHealth:
        """The state of the connection now."""
        ...

    async def close(self) -> None:
        """Give the stream back in order (say goodbye, keep a persistent session). Where the stream does not keep what
        is not acknowledged, `receive` then hands over all that had been read. Safe to call twice, and while `receive`
        waits."""
        ...


class IntakePlugin(msgspec.Struct, frozen=True):
    """What an intake's file ends with: `PLUGIN = IntakePlugin("name", ItsSettings, ItsIntake)`.

    `create` is called inside the running event loop with an instance of `settings`; it opens nothing.
    """

    name: str
    settings: type[EnvSettings]
    create: Callable[[Any], Intake]  # Any: the instance is of `settings`, which each plug-in narrows
