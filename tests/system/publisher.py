"""An MQTT client that only publishes, at QoS 1, and knows what the broker has acknowledged: the packets of MQTT 3.1.1
that this takes, so that it is never what limits a test."""

import asyncio
import struct
import time
from collections.abc import Callable

_CONNECT = (
    b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00"  # level 4, clean session, no keep-alive, client id of the broker's making
)
_WINDOW = 1000  # published and not acknowledged
_PUBACK_BYTES = 4


class Publisher(asyncio.Protocol):
    """One connection. `acknowledged` is called with the number of each message that the broker has taken over."""

    def __init__(self, acknowledged: Callable[[int], None]) -> None:
        self._acknowledged = acknowledged
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way: dict[int, int] = {}  # packet id: number
        self._packet_id = 0
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def connect(cls, port: int, acknowledged: Callable[[int], None]) -> "Publisher":
        """Raises OSError where the broker is away."""
        loop = asyncio.get_running_loop()
        _, publisher = await loop.create_connection(lambda: cls(acknowledged), "127.0.0.1", port)
        async with asyncio.timeout(10):
            await publisher._welcome
        return publisher

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def idle(self) -> bool:
        """Whether everything is acknowledged, or never will be."""
        return not self._under_way or not self.connected

    async def publish(self, number: int, topic: str, payload: bytes) -> float:
        """Send as soon as the window has room; the monotonic time of it.

        Raises:
            ConnectionError: the broker is away.
        """
        await self._room.wait()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the broker is away")
        self._packet_id = self._packet_id % 65_535 + 1
        self._under_way[self._packet_id] = number
        if len(self._under_way) >= _WINDOW:
            self._room.clear()
        body = struct.pack("!H", len(topic)) + topic.encode() + struct.pack("!H", self._packet_id) + payload
        sent_at = time.monotonic()
        self._transport.write(_packet(0x32, body))
        return sent_at

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_packet(0x10, _CONNECT))

    def data_received(self, data: bytes) -> None:
        """CONNACK and PUBACK are all that comes, and both have four bytes."""
        self._received += data
        while len(self._received) >= _PUBACK_BYTES:
            kind, _, packet_id = struct.unpack("!BBH", self._received[:_PUBACK_BYTES])
            self._received = self._received[_PUBACK_BYTES:]
            if kind == 0x20 and not self._welcome.done():
                self._welcome.set_result(None)
            elif kind == 0x40:
                self._acknowledged(self._under_way.pop(packet_id))
                self._room.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._room.set()
        if not self._welcome.done():
            self._welcome.set_exception(ConnectionError("the broker refused the publisher"))


def _packet(kind: int, body: bytes) -> bytes:
    head = bytearray([kind])
    length = len(body)
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body
