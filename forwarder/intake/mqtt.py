"""Notifications from an MQTT broker: QoS 1, a persistent session, acknowledged once the spool has them.

MQTT 3.1.1 with `clean_session=False`: every broker speaks it, and keeps the session for as long as it is told to.
What bounds the messages under way is the socket that is not read, never a promise of the broker.
"""

import asyncio
import random
import ssl
import time
from typing import ClassVar, Never

import aiomqtt
import msgspec
import structlog

from forwarder.errors import IntakeError
from forwarder.intake import mqtt_session
from forwarder.intake.base import IntakeBatch, IntakeHealth, IntakePlugin, Message
from forwarder.intake.mqtt_connection import Connection
from forwarder.intake.mqtt_settings import MqttSettings
from forwarder.intake.together import run_together

_log = structlog.get_logger()

_BATCH_MESSAGES = 500
_BUFFER_MESSAGES = 2_000  # reading pauses above either of these two, and goes on below half of both
_BUFFER_BYTES = 4 * 1024 * 1024
_FIRST_PAUSE = 0.25  # seconds, doubled with each attempt; the actual pause is a random part of it
_LONGEST_PAUSE = 5.0


class MqttIntake:
    """Buffers what has been read, a bounded lot, and hands it over in batches."""

    name: ClassVar[str] = "mqtt"
    acknowledges: ClassVar[bool] = True

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._broker = settings.broker
        self._root = settings.topic_root.strip("/") + "/" if settings.topic_root.strip("/") else ""
        self._memory_file = settings.state_dir / "mqtt-session.json"
        self._memory = mqtt_session.SessionMemory("")
        self._wanted: frozenset[str] | None = None  # None: not told yet, so nothing is taken back
        self._held: frozenset[str] = frozenset()  # what the broker has confirmed in this session
        self._refused: frozenset[str] = frozenset()
        self._wanted_changed = asyncio.Event()
        self._connection: Connection | None = None
        self._connected = False
        self._messages: list[Message] = []
        self._packet_ids: list[int] = []  # index-aligned with _messages; 0 where there is nothing to acknowledge
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._connections = 0
        self._trouble = "not connected yet"
        self._last_message_at: float | None = None

    async def run(self) -> Never:
        """Connect, stay connected, connect again, until cancelled.

        Raises:
            IntakeError: the certificates or the state directory cannot be used.
        """
        self._runner = asyncio.current_task()
        tls = self._tls_context()
        try:
            self._memory = await asyncio.to_thread(mqtt_session.load, self._memory_file, self._settings.client_id)
        except OSError as error:
            hint = "make it writable, or set FORWARDER_MQTT_CLIENT_ID"
            raise IntakeError(f"cannot write {self._memory_file}: {error.strerror}; {hint}") from error
        attempt = 0
        while True:
            connections, started = self._connections, time.monotonic()
            try:
                await self._stay_connected(tls)
            except (aiomqtt.MqttError, OSError) as error:
                self._disconnected(error, was_connected=self._connections > connections)
            except Exception as error:  # noqa: BLE001  (nobody foresaw it: told in full, then as any trouble)
                _log.exception("mqtt_failed", broker=self._broker.host)
                self._disconnected(error, was_connected=self._connections > connections)
            # A broker that takes us and throws us out at once is asked no more often than one that is away.
            attempt = 0 if time.monotonic() - started > _LONGEST_PAUSE else attempt + 1
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  (full jitter, not a secret)

    async def receive(self) -> IntakeBatch:
        """What has been read by now, at most 500 messages and some megabytes."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        messages, packet_ids = self._messages[:_BATCH_MESSAGES], self._packet_ids[:_BATCH_MESSAGES]
        del self._messages[:_BATCH_MESSAGES], self._packet_ids[:_BATCH_MESSAGES]
        self._bytes -= sum([len(message.payload) for message in messages])
        self._last_message_at = time.time()
        connection = self._connection
        if connection and len(self._messages) <= _BUFFER_MESSAGES // 2 and self._bytes <= _BUFFER_BYTES // 2:
            connection.resume()

        async def acknowledge() -> None:
            if connection:
                connection.acknowledge([packet_id for packet_id in packet_ids if packet_id])

        return IntakeBatch(messages, acknowledge)

    def subscribe(self, topic_filters: frozenset[str]) -> None:
        """Bring the broker's subscriptions in line with these filters, now and after every reconnect."""
        self._wanted = mqtt_session.subscriptions(topic_filters, self._root, self._settings.shared_group)
        self._wanted_changed.set()

    def health(self) -> IntakeHealth:
        """Whether the broker has taken us, and what it refuses."""
        place = f"{self._broker.host}:{self._broker.port}"
        if self._connected:
            detail = f"connected to {place} as {self._memory.client_id}, {len(self._held)} subscriptions"
        else:
            detail = f"not connected to {place}: {self._trouble}"
        if self._refused:
            detail += f"; the broker refuses us the subscriptions {', '.join(sorted(self._refused))}"
        return IntakeHealth(
            connected=self._connected,
            detail=detail,
            reconnects=max(0, self._connections - 1),
            last_message_at=self._last_message_at,
        )

    async def close(self) -> None:
        """End `run`, if it has not ended, and with it the connection. The session stays with the broker."""
        if self._runner and not self._runner.done():
            self._runner.cancel()
            await asyncio.wait({self._runner})
        self._trouble = "closed"

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self._broker.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file)
            if self._settings.cert_file:
                context.load_cert_chain(self._settings.cert_file, self._settings.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise IntakeError(f"the certificates or the key for {self._broker.host} cannot be used: {error}") from error
        return context

    async def _stay_connected(self, tls: ssl.SSLContext | None) -> None:
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=self._memory.client_id,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=False,
            keepalive=self._settings.keepalive_seconds,
            tls_context=tls,
        )
        # Known before it is open: the first messages come in one piece with the broker's welcome.
        connection = self._connection = Connection(client, self._arrive)
        try:
            async with connection:
                self._welcome(connection)
                await run_together(connection.closed(), self._keep_subscribed(connection))
        finally:
            self._forget_connection()

    def _welcome(self, connection: Connection) -> None:
        self._connected = True
        self._connections += 1
        self._trouble = ""
        if not connection.session_present:
            self._held = frozenset()
        _log.info("mqtt_connected", broker=self._broker.host, session_present=connection.session_present)
        if not connection.session_present and self._memory.subscriptions:
            _log.warning("mqtt_session_lost", hint="what was published meanwhile is lost; let the broker keep sessions")

    def _forget_connection(self) -> None:
        """Drop what cannot be acknowledged any more: the broker sends it again. What QoS 0 brought stays."""
        self._connection, self._connected = None, False
        kept = [message for message, packet_id in zip(self._messages, self._packet_ids, strict=True) if not packet_id]
        self._messages, self._packet_ids = kept, [0] * len(kept)
        self._bytes = sum(len(message.payload) for message in kept)

    def _disconnected(self, error: BaseException, *, was_connected: bool) -> None:
        error = error.__cause__ or error  # aiomqtt's own says only what it was doing
        reason = str(error) or type(error).__name__
        if was_connected or reason != self._trouble:
            _log.warning("mqtt_not_connected", broker=self._broker.host, reason=reason)
        self._trouble = reason

    def _arrive(self, topic: bytes, payload: bytes, packet_id: int, left_out: int = 0) -> None:
        self._messages.append(Message(mqtt_session.dotted(topic, self._root), payload, left_out))
        self._packet_ids.append(packet_id)
        self._bytes += len(payload)
        self._arrived.set()
        if self._connection and (len(self._messages) > _BUFFER_MESSAGES or self._bytes > _BUFFER_BYTES):
            self._connection.pause()

    async def _keep_subscribed(self, connection: Connection) -> Never:
        while True:
            self._wanted_changed.clear()
            if self._wanted is not None:
                await self._bring_in_line(connection, self._wanted)
            await self._wanted_changed.wait()

    async def _bring_in_line(self, connection: Connection, wanted: frozenset[str]) -> None:
        """Subscribe before unsubscribing: a message may then come twice, and none is missed."""
        stale = self._memory.subscriptions - wanted
        await self._remember(self._memory.subscriptions | wanted)
        self._refused = await connection.subscribe(sorted(wanted - self._held))
        self._held = wanted - self._refused
        if self._refused:
            _log.error("mqtt_subscriptions_refused", subscriptions=sorted(self._refused), hint="see the broker's ACL")
        await connection.unsubscribe(sorted(stale))
        await self._remember(wanted)

    async def _remember(self, subscriptions: frozenset[str]) -> None:
        if subscriptions == self._memory.subscriptions:
            return
        self._memory = msgspec.structs.replace(self._memory, subscriptions=subscriptions)
        try:
            await asyncio.to_thread(mqtt_session.save, self._memory_file, self._memory)
        except OSError as error:
            _log.warning("mqtt_session_not_saved", file=str(self._memory_file), error=str(error))


PLUGIN = IntakePlugin(MqttIntake.name, MqttSettings, MqttIntake)
