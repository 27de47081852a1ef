"""A broker's bytes: the same packets however they come in pieces.

Each byte up to the first zero is the length of a piece; the rest is the stream.
"""

from typing import Any

from forwarder.intake.mqtt_wire import PacketSplitter

Message = tuple[Any, ...]
Taken = tuple[list[Message], bytes]


def check(data: bytes) -> None:
    lengths, _, stream = data.partition(b"\0")
    pieces, start = [], 0
    for length in lengths:
        pieces.append(stream[start : start + length])
        start += length
    pieces.append(stream[start:])
    whole = take([stream])
    assert take(pieces) == whole
    assert take([stream[at : at + 1] for at in range(len(stream))]) == whole
    messages, others = whole
    # A message leaves out what frames it: at least the type, a length and the topic's length.
    assert sum(len(topic) + len(payload) + 4 for topic, payload, *_ in messages) + len(others) <= len(stream)


def take(pieces: list[bytes]) -> Taken:
    messages: list[Message] = []
    splitter = PacketSplitter(lambda *message: messages.append(message))
    for piece in pieces:
        splitter.feed(piece)
    return messages, bytes(splitter.others)
