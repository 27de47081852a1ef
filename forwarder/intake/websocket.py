"""Notifications from a WebSocket: frames as the Notification API of Genesys Cloud sends them, one a message.

Such a stream keeps nothing: what is sent while no socket is open is lost. The time in which that can happen is counted.
"""

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import ClassVar, Never
from urllib.parse import urlsplit

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode

from forwarder.errors import EndOfStream
from forwarder.intake.base import MAX_PAYLOAD_BYTES, IntakeBatch, IntakeHealth, IntakePlugin, Message
from forwarder.intake.together import run_together
from forwarder.intake.websocket_settings import TOPICS, WebsocketSettings, parse_headers

_log = structlog.get_logger()

_BATCH_MESSAGES = 500
_BUFFER_MESSAGES = 2_000  # reading pauses above either of these two, and goes on below half of both
_BUFFER_BYTES = 4 * 1024 * 1024
_FIRST_PAUSE = 0.25  # seconds, doubled with each attempt; the actual pause is a random part of it
_LONGEST_PAUSE = 5.0
_DRAIN_SECONDS = 60.0  # a server that announced its close closes within a minute
_HEARTBEAT = "channel.metadata"
_CLOSING = "v2.system.socket_closing"


class _SocketClosing(Exception):  # noqa: N818  (an announcement, not an error)
    """The server has announced that it will close this socket."""


class _Silence(Exception):  # noqa: N818  (named for what it is)
    """Nothing has come for too long."""


class _Envelope(msgspec.Struct):
    topic: str = msgspec.field(name="topicName", default="")


class WebsocketIntake:
    """Reads into a bounded buffer and hands over what is there in batches."""

    name: ClassVar[str] = "websocket"
    acknowledges: ClassVar[bool] = False

    def __init__(self, settings: WebsocketSettings) -> None:
        self._url = settings.url.get_secret_value()
        self._host = urlsplit(self._url).hostname
        self._headers = parse_headers(settings.headers.get_secret_value()) if settings.headers else {}
        self._template = settings.subscribe or ""
        self._silence_seconds = settings.silence_seconds
        self._wanted: frozenset[str] | None = None
        self._wanted_changed = asyncio.Event()
        self._messages: list[Message] = []
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._runner: asyncio.Task[None] | None = None
        self._closing = False
        self._closed = False  # nothing more will come
        self._bounded = True
        self._unread: set[ClientConnection] = set()  # sockets that may still have something for us
        self._open = 0  # sockets that bring messages: two for a moment, while one takes over from the other
        self._connections = 0
        self._trouble = "not connected yet"
        self._last_life = 0.0  # monotonic
        self._heartbeats = False  # whether this server sends them; then the answer to a ping is no sign of life
        self._lost_seconds = 0.0
        self._down_since: float | None = None  # monotonic; None before the first connection and while one is open
        self._last_message_at: float | None = None

    async def run(self) -> None:
        """Connect, stay connected, connect again, until cancelled."""
        self._runner = asyncio.current_task()
        async with asyncio.TaskGroup() as draining:
            attempt = 0
            while True:
                started = time.monotonic()
                announced = False
                try:
                    announced = await self._connect_and_listen(draining)
                except (WebSocketException, OSError, _Silence) as error:
                    self._note(error)
                except Exception as error:  # noqa: BLE001  (nobody foresaw it: told in full, then as any trouble)
                    _log.exception("websocket_failed", host=self._host)
                    self._note(error)
                # A server that throws us out at once is asked no more often than one that is away.
                attempt = 0 if time.monotonic() - started > _LONGEST_PAUSE else attempt + 1
                if not announced or attempt > 1:
                    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
                    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  (full jitter, not a secret)

    async def receive(self) -> IntakeBatch:
        """What has been read by now, at most 500 messages and some megabytes.

        Raises:
            EndOfStream: the intake is closed, and all that had come has been handed over.
        """
        while not self._messages:
            if self._closed:
                raise EndOfStream(f"the connection to {self._host} has been closed")
            self._arrived.clear()
            await self._arrived.wait()
        messages = self._messages[:_BATCH_MESSAGES]
        del self._messages[:_BATCH_MESSAGES]
        self._bytes -= sum([len(message.payload) for message in messages])
        self._last_message_at = time.time()
        if len(self._messages) <= _BUFFER_MESSAGES // 2 and self._bytes <= _BUFFER_BYTES // 2:
            self._room.set()
        return IntakeBatch(messages, _acknowledge)

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """Send the subscribe message anew, if it names the topics."""
        self._wanted = topic_filters
        self._wanted_changed.set()

    def health(self) -> IntakeHealth:
        """Whether a socket is open, and how long none was since the first."""
        down = time.monotonic() - self._down_since if self._down_since is not None else 0.0
        return IntakeHealth(
            connected=self._open > 0,
            detail=f"connected to {self._host}" if self._open else f"not connected to {self._host}: {self._trouble}",
            reconnects=max(0, self._connections - 1),
            last_message_at=self._last_message_at,
            lost_seconds=self._lost_seconds + down,
        )

    async def close(self) -> None:
        """End `run`, if it has not ended, say goodbye and take in what comes until the server has said it too. Nobody
        keeps it for us; `receive` hands it over."""
        self._closing = True
        if self._runner and not self._runner.done():
            self._runner.cancel()
            await asyncio.wait({self._runner})
        self._trouble = "closed"
        await asyncio.gather(*(self._part(socket) for socket in self._unread))
        self._closed = True
        self._arrived.set()

    async def _connect_and_listen(self, draining: asyncio.TaskGroup) -> bool:
        """Stay connected once. True if the server announced the end; the old socket is then read until it closes."""
        socket = await connect(
            self._url,
            additional_headers=self._headers,
            compression=None,  # a millisecond of CPU would be paid for what a data centre's network gives away
            max_size=MAX_PAYLOAD_BYTES,
            max_queue=256,
            ping_interval=None,  # its deadline would run while we do not read: see _keep_alive
            close_timeout=2,
        )
        self._opened()
        self._unread.add(socket)
        announced = False
        reading = asyncio.create_task(self._read(socket))
        try:
            await run_together(reading, self._keep_alive(socket), self._keep_subscribed(socket))
        except _SocketClosing:
            announced = True
            _log.info("websocket_closing", host=self._host)
            draining.create_task(self._retire(socket))
        finally:
            if not announced:
                self._ended(socket)
                if not reading.cancelled():  # it has come to the end
                    self._unread.discard(socket)
                if not self._closing:
                    await socket.close()
                    if reading.cancelled():
                        draining.create_task(self._drain(socket))
        return announced

    def _opened(self) -> None:
        self._open += 1
        self._connections += 1
        self._trouble = ""
        self._last_life = time.monotonic()
        self._heartbeats = False
        if self._down_since is not None:
            self._lost_seconds += self._last_life - self._down_since
            self._down_since = None
        _log.info("websocket_connected", host=self._host, lost_seconds=round(self._lost_seconds, 3))

    def _ended(self, socket: ClientConnection) -> None:
        """Date the end: where the server did not say goodbye, from the last sign of life."""
        self._open -= 1
        if self._open == 0:
            said_goodbye = socket.close_code not in (None, CloseCode.ABNORMAL_CLOSURE)
            self._down_since = time.monotonic() if said_goodbye else self._last_life

    def _note(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if reason != self._trouble:
            _log.warning("websocket_not_connected", host=self._host, reason=reason)
        self._trouble = reason

    async def _read(self, socket: ClientConnection) -> Never:
        while True:
            await self._room.wait()
            payload = await socket.recv(decode=False)
            self._last_life = time.monotonic()
            topic = _control_topic(payload)
            if topic == _HEARTBEAT:
                self._heartbeats = True
            elif topic == _CLOSING:
                raise _SocketClosing
            else:
                self._arrive(payload)

    def _arrive(self, payload: bytes) -> None:
        self._messages.append(Message(None, payload))
        self._bytes += len(payload)
        self._arrived.set()
        full = len(self._messages) > _BUFFER_MESSAGES or self._bytes > _BUFFER_BYTES
        if full and self._bounded:
            self._room.clear()

    async def _retire(self, socket: ClientConnection) -> None:
        """Read on, while another socket takes over, until the server closes this one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS) as deadline:
                await self._drain(socket)
        self._ended(socket)
        await socket.close()
        if deadline.expired():  # else it has come to the end
            await self._drain(socket)

    async def _drain(self, socket: ClientConnection) -> None:
        """Take what had come before the socket closed. Not to be asked for again: behind a message of which websockets
        has had enough there is the rest of it, at which it stumbles."""
        with suppress(WebSocketException):
            while True:
                with suppress(_SocketClosing):
                    await self._read(socket)
        self._unread.discard(socket)

    async def _part(self, socket: ClientConnection) -> None:
        """Close a socket, reading it meanwhile. What it has left then is some hundred messages: there is room."""
        async with asyncio.TaskGroup() as parting:
            parting.create_task(self._drain(socket))
            await socket.close()
            self._bounded = False
            self._room.set()

    async def _keep_alive(self, socket: ClientConnection) -> Never:
        """Ping, and end the connection when nothing comes. While we do not read, we cannot hear: then we only show that
        we are there, by pongs that nobody asked for (RFC 6455, section 5.5.3)."""
        while True:
            left = self._last_life + self._silence_seconds - time.monotonic()
            if left <= 0:
                raise _Silence(f"nothing came for {self._silence_seconds:g} seconds")
            await asyncio.sleep(min(left, self._silence_seconds / 3))
            if self._room.is_set():
                pong = await socket.ping()
                pong.add_done_callback(self._on_pong)  # type: ignore[attr-defined]  # it is a future, typed as awaitable
            else:
                self._last_life = time.monotonic()
                await socket.pong()

    def _on_pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None and not self._heartbeats:
            self._last_life = time.monotonic()

    async def _keep_subscribed(self, socket: ClientConnection) -> None:
        if not self._template:
            return
        names_topics = TOPICS in self._template
        while True:
            self._wanted_changed.clear()
            if self._wanted is not None or not names_topics:
                await socket.send(self._template.replace(TOPICS, json.dumps(sorted(self._wanted or ()))))
            if not names_topics:
                return
            await self._wanted_changed.wait()


def _control_topic(payload: bytes) -> str | None:
    """The topic, if it may be one that is about the stream itself."""
    if b"channel.metadata" not in payload and b"socket_closing" not in payload:
        return None
    try:
        return msgspec.json.decode(payload, type=_Envelope).topic
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def _acknowledge() -> None:
    """Nobody to tell."""


PLUGIN = IntakePlugin(WebsocketIntake.name, WebsocketSettings, WebsocketIntake)
