"""The part of MQTT 3.1.1 that every message passes through: PUBLISH in, PUBACK out.

paho reads a packet by four system calls and some forty function calls, and sends each acknowledgement by itself: 40 µs
and more a message, most of what this program does to it. But paho takes any object with a socket's methods; it gets a
`TappedSocket`, which reads in large pieces, takes the PUBLISH packets out and leaves all others to paho, as bytes.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from forwarder.intake.base import MAX_PAYLOAD_BYTES

_PUBLISH = 0x30  # upper half of the first byte (MQTT 3.1.1, section 2.2.1)
_QOS_MASK = 0x06
_QOS_1 = 0x02
_PUBACK = b"\x40\x02"
_PINGREQ = b"\xc0\x00"
_PINGRESP = b"\xd0\x00"
_READ_BYTES = 256 * 1024
_LONGEST_HEAD = 2 + 65_535 + 2  # a topic with its length, and a packet identifier


class OnPublish(Protocol):
    """Called with topic, payload and packet identifier, the last 0 where QoS 0 has none. A payload of more bytes than
    can be taken is not kept: then it is empty, and `left_out` says how many there were."""

    def __call__(self, topic: bytes, payload: bytes, packet_id: int, left_out: int = 0, /) -> None:
        """Take one message."""


def pubacks(packet_ids: list[int]) -> bytes:
    """The acknowledgements of these packets, to be sent in one piece."""
    return b"".join([_PUBACK + packet_id.to_bytes(2) for packet_id in packet_ids])


class PacketSplitter:
    """Cuts a byte stream into packets. Pure: bytes in, PUBLISH packets to the callback, the others collected.

    A packet may be of 256 MiB (section 2.2.3). What is longer than any that can be taken is counted off, not kept, and
    handed over at its end.
    """

    def __init__(self, on_publish: OnPublish) -> None:
        self.others = bytearray()
        self._on_publish = on_publish
        self._parts: list[bytes] = []
        self._available = 0
        self._needed = 2
        self._long = (b"", 0, 0)  # topic, packet identifier and payload's length of the packet that is counted off,
        self._left = 0  # and how many of its bytes are still to come
        self._out_of_step = False  # after a length that is none, nobody knows where the next packet starts

    def feed(self, data: bytes) -> None:
        """Take in the next bytes. A packet that is not whole yet is kept; its parts are joined once, when it is."""
        if self._out_of_step:
            self.others += data
            return
        if self._left:
            data = data[self._count_off(len(data)) :]
        self._parts.append(data)
        self._available += len(data)
        if self._available < self._needed:
            return
        joined = b"".join(self._parts) if len(self._parts) > 1 else data
        rest = joined[self._split(joined) :]
        self._parts = [rest]
        self._available = len(rest)

    def _split(self, data: bytes) -> int:
        """Handle the whole packets; where the first that is not whole starts, leaving in _needed how long it is."""
        start = 0
        while True:
            header = _fixed_header(data, start)
            if header is None and len(data) - start > 4:
                # A length goes on after its fourth byte, a protocol error: paho, given it all, says so and disconnects.
                self._out_of_step = True
                self.others += data[start:]
                return len(data)
            if header is None:
                self._needed = len(data) - start + 1
                return start
            body, end = header
            first = data[start]
            if end - body > MAX_PAYLOAD_BYTES + _LONGEST_HEAD and _is_taken(first):
                self._needed = body + _LONGEST_HEAD - start
                if len(data) - start < self._needed:
                    return start
                self._needed = 2
                start += self._begin_counting(data, start, body, end)
                continue
            if end > len(data):
                self._needed = end - start
                return start
            if first & 0xF0 != _PUBLISH or not self._publish(first & _QOS_MASK, data, body, end):
                self.others += data[start:end]
            start = end

    def _publish(self, qos: int, data: bytes, start: int, end: int) -> bool:
        """Hand over a PUBLISH packet (section 3.3). False if it is not one that we can read: then paho says so."""
        topic, packet_id, payload = _head(qos, data, start)
        if payload > end or qos > _QOS_1:
            return False
        self._on_publish(topic, data[payload:end], packet_id)
        return True

    def _begin_counting(self, data: bytes, start: int, body: int, end: int) -> int:
        """Keep the head of a PUBLISH packet and count off what is there of it: so many bytes."""
        topic, packet_id, payload = _head(data[start] & _QOS_MASK, data, body)
        self._long = (topic, packet_id, end - payload)
        self._left = end - start
        return self._count_off(len(data) - start)

    def _count_off(self, available: int) -> int:
        counted = min(self._left, available)
        self._left -= counted
        if not self._left:
            topic, packet_id, length = self._long
            self._on_publish(topic, b"", packet_id, length)
        return counted


def _is_taken(first: int) -> bool:
    return first & 0xF0 == _PUBLISH and first & _QOS_MASK <= _QOS_1


def _head(qos: int, data: bytes, start: int) -> tuple[bytes, int, int]:
    """Topic and packet identifier of a PUBLISH packet's body (section 3.3.2), and where its payload starts."""
    topic_end = start + 2 + int.from_bytes(data[start : start + 2])
    topic = data[start + 2 : topic_end]
    if not qos:
        return topic, 0, topic_end
    return topic, int.from_bytes(data[topic_end : topic_end + 2]), topic_end + 2


def _fixed_header(data: bytes, start: int) -> tuple[int, int] | None:
    """Where the body of the packet at `start` starts and ends (section 2.2.3), None if the four bytes that
    it may take do not say."""
    length = shift = 0
    for at in range(start + 1, min(start + 5, len(data))):
        byte = data[at]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at + 1, at + 1 + length
        shift += 7
    return None


class TappedSocket:
    """A non-blocking socket as paho sees it: all it is sent but the PUBLISH packets of QoS 0 and 1.

    A ping is answered on the broker's behalf as soon as anything else has come, and while reading is paused: the true
    answer waits behind all that was published before it, so its delay says nothing of the connection. `wake` is called
    when there is such an answer to be read and nothing on the network will tell.
    """

    def __init__(self, sock: socket.socket, on_publish: OnPublish, wake: Callable[[], None]) -> None:
        self._sock = sock
        self._splitter = PacketSplitter(on_publish)
        self._wake = wake
        self._ping_open = False
        self._paused = False

    def pause(self) -> None:
        """Read nothing more from the network."""
        self._paused = True
        self._answer_ping()

    def resume(self) -> None:
        """Read from the network again."""
        self._paused = False

    def recv(self, size: int) -> bytes:
        """The next bytes of other packets. With none there it reads the network once."""
        others = self._splitter.others
        if not others and not self._paused:
            data = self._sock.recv(_READ_BYTES)
            if not data:
                return b""
            self._splitter.feed(data)
            self._answer_ping()
        if not others:
            raise BlockingIOError
        taken = bytes(others[:size])
        del others[:size]
        return taken

    def send(self, data: bytes) -> int:
        """Pass on what paho has to say."""
        sent = self._sock.send(data)
        if data == _PINGREQ and sent:
            self._ping_open = True
            if self._paused:
                self._answer_ping()
        return sent

    def pending(self) -> int:
        """How many bytes there are that the event loop cannot see on the file descriptor. TLS holds none back: a record
        is at most 16 KiB (RFC 8446, section 5.1), and each is taken out whole."""
        return len(self._splitter.others)

    def _answer_ping(self) -> None:
        if self._ping_open:
            self._ping_open = False
            self._splitter.others += _PINGRESP
            self._wake()

    def fileno(self) -> int:
        """The file descriptor, for the event loop."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As the socket's."""
        self._sock.setblocking(flag)

    def close(self) -> None:
        """As the socket's."""
        self._sock.close()
