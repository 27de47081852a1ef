"""Lines of a file: the same however the file comes in pieces, and none swallowed for its length.

Each byte up to the first zero is the length of a piece; the rest is the file. Lines may be 32 bytes long here.
"""

from unittest import mock

from forwarder.intake import file

LONGEST = 32


def check(data: bytes) -> None:
    lengths, _, text = data.partition(b"\0")
    with mock.patch.object(file, "MAX_PAYLOAD_BYTES", LONGEST):
        splitter = file.LineSplitter()
        messages, start = [], 0
        for length in lengths:
            messages += splitter.feed(text[start : start + length])
            start += length
        messages += splitter.feed(text[start:])
        messages += splitter.end()
    assert all(message.topic is None for message in messages)
    found = [message.payload for message in messages]
    lines = [line for line in text.split(b"\n") if line.strip(b" \t\r\v\f") or len(line) > LONGEST]
    assert len(found) == len(lines), (found, lines)
    for line, payload in zip(lines, found, strict=True):
        assert line.startswith(payload)
        assert payload == line or len(payload) > LONGEST
