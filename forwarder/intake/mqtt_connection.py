"""One connection to an MQTT broker: aiomqtt's client with its hot path taken over (see mqtt_wire).

aiomqtt connects, subscribes and keeps alive. This module alone reaches into it, at three places that its tests watch:
the paho client inside (`_client`), paho's making of the socket (`_create_socket`) and its queue of packets to send
(`_packet_queue`). Another MQTT client takes its place by offering what `Connection` offers.
"""

import asyncio
import math
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Never, Self

import aiomqtt
from paho.mqtt.client import ConnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from forwarder.intake.mqtt_wire import OnPublish, TappedSocket, pubacks

_PUBACK = 0x40
_REFUSED = 0x80  # a return code in SUBACK (MQTT 3.1.1, section 3.9.3)
_FILTERS_A_PACKET = 8  # AWS IoT Core takes no more in one SUBSCRIBE


class Connection:
    """A connection from `async with` to its end. It is used once.

    `on_publish` is called for every message, from the event loop, in order. `session_present` says whether the broker
    still had our session (MQTT 3.1.1, section 3.2.2.2).
    """

    def __init__(self, client: aiomqtt.Client, on_publish: OnPublish) -> None:
        self.session_present = False
        self._client = client
        self._on_publish = on_publish
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._tap: TappedSocket | None = None
        paho = self._paho = client._client  # noqa: SLF001  (aiomqtt has no other way to manual acknowledgement)
        paho.manual_ack_set(True)
        self._create_socket = paho._create_socket  # noqa: SLF001  (see the module's docstring)
        paho._create_socket = self._create_tapped_socket  # type: ignore[assignment]  # noqa: SLF001  (likewise)
        self._hung_up = asyncio.Event()
        self._greet: Any = paho.on_connect
        self._part: Any = paho.on_disconnect
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            aiomqtt.MqttError: the broker cannot be reached, or refuses us.
        """
        try:
            await self._enter()
        except BaseException:
            self._paho.disconnect()  # aiomqtt leaves the socket open after a refusal or a timeout
            raise
        if self._tap is not None and self._paho.socket() is not None:
            self._loop.add_reader(self._tap.fileno(), self._read)  # takes the place of aiomqtt's
        return self

    async def _enter(self) -> None:
        """Connect, without aiomqtt's ten seconds of waiting for an answer after the broker has hung up."""
        entering = self._loop.create_task(self._client.__aenter__())
        hung_up = self._loop.create_task(self._hung_up.wait())
        try:
            await asyncio.wait({entering, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if not entering.done():
                raise aiomqtt.MqttError("the broker closed the connection without an answer")
            await entering
        finally:
            entering.cancel()
            hung_up.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye, after the acknowledgements that are still to be sent. The session stays with the broker."""
        await self._client.__aexit__(kind, error, trace)

    async def closed(self) -> Never:
        """Wait for the connection's end.

        Raises:
            aiomqtt.MqttError: it has ended.
        """
        # QoS 2 is never asked for, but a subscription that another program made in our session may bring it.
        async for message in self._client.messages:
            self._on_publish(message.topic.value.encode(), bytes(message.payload), 0)
        raise aiomqtt.MqttError("the connection has ended")

    async def subscribe(self, filters: Sequence[str]) -> frozenset[str]:
        """Subscribe at QoS 1. Returns those that the broker refuses. It waits as long as the connection lasts: the
        answer comes behind all messages that were sent before it.

        Raises:
            aiomqtt.MqttError: the connection has ended.
        """
        refused: set[str] = set()
        for start in range(0, len(filters), _FILTERS_A_PACKET):
            chunk = filters[start : start + _FILTERS_A_PACKET]
            codes = await self._client.subscribe([(name, 1) for name in chunk], timeout=math.inf)
            granted = [code if isinstance(code, int) else code.value for code in codes]
            refused.update(name for name, code in zip(chunk, granted, strict=True) if code >= _REFUSED)
        return frozenset(refused)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe. What the broker has queued already still comes.

        Raises:
            aiomqtt.MqttError: the connection has ended.
        """
        for start in range(0, len(filters), _FILTERS_A_PACKET):
            await self._client.unsubscribe(list(filters[start : start + _FILTERS_A_PACKET]), timeout=math.inf)

    def acknowledge(self, packet_ids: list[int]) -> None:
        """Acknowledge QoS 1 messages of this connection in one write. Does nothing once the connection has ended: its
        packet identifiers mean nothing to the next one, on which the broker sends the messages again."""
        if packet_ids and self._paho.socket() is not None:
            self._paho._packet_queue(_PUBACK, pubacks(packet_ids), 0, 1)  # noqa: SLF001  (see the module's docstring)

    def pause(self) -> None:
        """Stop reading; pings go on. What was read already may still come."""
        if not self._paused and self._tap is not None and self._paho.socket() is not None:
            self._paused = True
            self._loop.remove_reader(self._tap.fileno())
            self._tap.pause()

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._tap is not None and self._paho.socket() is not None:
            self._paused = False
            self._tap.resume()
            self._loop.add_reader(self._tap.fileno(), self._read)

    def _create_tapped_socket(self) -> TappedSocket:
        sock: Any = self._create_socket()  # a socket, plain or TLS: there is neither a proxy nor a WebSocket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an acknowledgement waits for nothing
        self._tap = TappedSocket(sock, self._on_publish, self._wake)
        return self._tap

    def _on_connect(
        self, client: Any, userdata: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.session_present = flags.session_present
        self._greet(client, userdata, flags, code, properties)

    def _on_disconnect(self, *details: Any) -> None:
        self._part(*details)
        self._hung_up.set()

    def _wake(self) -> None:
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        while self._tap is not None and self._paho.socket() is not None:
            self._paho.loop_read()
            if not self._tap.pending():
                break
