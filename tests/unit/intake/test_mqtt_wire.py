"""Cutting the byte stream: whatever the pieces it comes in, the same packets."""

import socket
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.intake import mqtt_wire
from forwarder.intake.mqtt_wire import PacketSplitter, TappedSocket, pubacks

PINGRESP = b"\xd0\x00"


def remaining_length(length: int) -> bytes:
    encoded = b""
    while True:
        length, low = divmod(length, 128)
        encoded += bytes([low | (0x80 if length else 0)])
        if not length:
            return encoded


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + remaining_length(len(body)) + body


def publish(topic: bytes, payload: bytes, packet_id: int = 0, flags: int = 0) -> bytes:
    qos = 0x02 if packet_id else 0
    identifier = packet_id.to_bytes(2) if packet_id else b""
    return packet(0x30 | qos | flags, len(topic).to_bytes(2) + topic + identifier + payload)


publishes = st.tuples(
    st.binary(max_size=20), st.binary(max_size=300), st.integers(0, 65535), st.sampled_from([0, 8, 1, 9])
)
others = st.binary(max_size=150).map(lambda body: packet(0x90, body)) | st.just(PINGRESP)


@given(st.data(), st.lists(publishes | others, max_size=8))
def test_the_same_packets_however_they_are_cut(
    data: st.DataObject, packets: list[tuple[bytes, bytes, int, int] | bytes]
) -> None:
    stream = b"".join(p if isinstance(p, bytes) else publish(*p) for p in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    taken: list[tuple[object, ...]] = []
    splitter = PacketSplitter(lambda *message: taken.append(message))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if start < end:
            splitter.feed(stream[start:end])
    assert taken == [p[:3] for p in packets if isinstance(p, tuple)]
    assert splitter.others == b"".join(p for p in packets if isinstance(p, bytes))


@pytest.mark.parametrize("piece", [7, 1000, 10_000_000])
@pytest.mark.parametrize("packet_id", [0, 77])
def test_a_packet_too_long_to_be_taken_is_counted_off_and_handed_over_at_its_end(
    monkeypatch: pytest.MonkeyPatch, piece: int, packet_id: int
) -> None:
    monkeypatch.setattr(mqtt_wire, "MAX_PAYLOAD_BYTES", 1000)
    length = 70_000
    stream = publish(b"a", b"1", 5) + publish(b"t", b"x" * length, packet_id) + PINGRESP + publish(b"b", b"2", 6)
    taken: list[tuple[object, ...]] = []
    splitter = PacketSplitter(lambda *message: taken.append(message))
    for start in range(0, len(stream), piece):
        splitter.feed(stream[start : start + piece])
    assert taken == [(b"a", b"1", 5), (b"t", b"", packet_id, length), (b"b", b"2", 6)]
    assert splitter.others == PINGRESP


def test_the_longest_packet_takes_little_memory() -> None:
    taken: list[tuple[object, ...]] = []
    splitter = PacketSplitter(lambda *message: taken.append(message))
    length, piece = 200_000_000, b"x" * 250_000
    head = publish(b"t", b"", 7)[2:]
    tracemalloc.start()
    try:
        splitter.feed(b"\x32" + remaining_length(len(head) + length) + head)
        for _ in range(length // len(piece)):
            splitter.feed(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken == [(b"t", b"", 7, length)]
    assert peak < 1_000_000


@given(st.binary(max_size=200))
def test_never_raises(stream: bytes) -> None:
    splitter = PacketSplitter(lambda *_: None)
    for at in range(len(stream)):
        splitter.feed(stream[at : at + 1])


def test_a_publish_that_is_none_and_qos_2_are_left_to_paho() -> None:
    strange = packet(0x32, b"\x00\xffshort") + packet(0x34, b"\x00\x01t\x00\x01payload") + b"\x30\xff\xff\xff\xff\xff"
    splitter = PacketSplitter(lambda *_: None)
    splitter.feed(strange)
    assert splitter.others == strange


def test_pubacks_in_one_piece() -> None:
    assert pubacks([1, 65535]) == b"\x40\x02\x00\x01\x40\x02\xff\xff"


class TestTappedSocket:
    def test_a_ping_is_answered_by_whatever_comes(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            taken: list[bytes] = []
            tapped = TappedSocket(ours, lambda _topic, payload, *_: taken.append(payload), lambda: None)
            tapped.send(b"\xc0\x00")
            assert tapped.pending() == 0
            theirs.sendall(publish(b"t", b"p", 1))
            assert tapped.recv(1) + tapped.recv(1) == PINGRESP
            assert taken == [b"p"]

    def test_while_paused_it_reads_nothing_and_pings_are_answered(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            taken: list[bytes] = []
            woken: list[bool] = []
            tapped = TappedSocket(ours, lambda _topic, payload, *_: taken.append(payload), lambda: woken.append(True))
            tapped.send(b"\xc0\x00")
            tapped.pause()
            tapped.send(b"\xc0\x00")
            theirs.sendall(publish(b"t", b"p"))
            assert len(woken) == 2
            assert tapped.recv(9) == PINGRESP * 2
            assert taken == []
            assert theirs.recv(9) == b"\xc0\x00" * 2
            tapped.resume()
            with pytest.raises(BlockingIOError):
                tapped.recv(1)
            assert taken == [b"p"]
