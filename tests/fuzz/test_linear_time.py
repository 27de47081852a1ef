"""Nobody stalls a parser by the size of what he sends: eight times the input takes some eight times as long, not 64."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forwarder.errors import ForwarderError
from forwarder.given import read_env_file
from forwarder.intake.base import Message
from forwarder.intake.decode import decode
from forwarder.intake.file import LineSplitter
from forwarder.intake.mqtt_wire import PacketSplitter
from forwarder.integrations.env_file import parse, parse_filter_list, update
from forwarder.rules.filter_index import FilterIndex, minimal_cover
from forwarder.rules.topic_filter import parse_topic_filter, parse_topic_filters
from forwarder.rules.validation import Rules

RULES = Rules(frozenset({"us-east-1"}), "aws.partner/genesys.com/cloud", "org-1")
LONGER = 8
LEAST = 0.0005  # seconds; what takes less cannot be told from noise
FACTOR = 3  # times LONGER: what noise and caches may add; a square would come to 64


def assert_linear(work: Callable[[int], Callable[[], object]]) -> None:
    """`work(size)` prepares input of that size and returns what is to be timed."""
    size = 64
    while timed(work(size)) < LEAST and size < 200_000:
        size *= 4
    short, long = best_of_three(work(size)), best_of_three(work(size * LONGER))
    assert long < max(short, LEAST) * LONGER * FACTOR, f"{size}: {short:.4f} s, {size * LONGER}: {long:.4f} s"


def best_of_three(call: Callable[[], object]) -> float:
    return min(timed(call) for _ in range(3))


def timed(call: Callable[[], object]) -> float:
    """Seconds of CPU."""
    started = time.process_time()
    call()
    return time.process_time() - started


@pytest.mark.parametrize(
    "shape",
    [
        b'{"topicName":"t","x":"%"}',
        b'{"topicName":"t","x":[%0]}',
        b'{"topicName":"t","metadata":{"a":1},"x":[%0]}',
        b'{"metadata":{%"a":0},"x":"\\ud800"}',
        b'{"topicName":"t"%}',
        b'{"topicName":"t","x":"%',
        b"%",
    ],
    ids=lambda shape: shape.decode(),
)
@pytest.mark.parametrize(
    "part",
    [
        b"a",
        b"\\\\",
        b'\\"',
        b"[1],",
        b'{"metadata":{"a":1}},',
        b'"metadata":{},',
        b" ",
        b'"',
        b"[",
        b',"metadata":{"a":1}',
    ],
    ids=lambda part: part.decode(),
)
def test_a_frame(shape: bytes, part: bytes) -> None:
    def work(size: int) -> Callable[[], object]:
        payload = shape.replace(b"%", part * size)
        return lambda: decode(Message("t", payload), 0.0, True)

    assert_linear(work)


ENV_PARTS = [" ", "\t", "\n", "\n\n ", "# ", "A=b\n", "A=b #", "A='", 'A="\\', "A= ", "export ", "=", "'"]


@pytest.mark.parametrize("part", ENV_PARTS, ids=ascii)
@pytest.mark.parametrize("start", ["", "NAME=x", "NAME='"])
def test_an_integrations_file(start: str, part: str) -> None:
    def work(size: int) -> Callable[[], object]:
        content = (start + part * size + "x").encode()
        return lambda: parse("a", "a.env", content, RULES)

    assert_linear(work)


@pytest.mark.parametrize("part", ENV_PARTS, ids=ascii)
@pytest.mark.parametrize("start", ["", "NAME=x", "NAME='"])
def test_the_daemons_env_file(start: str, part: str, tmp_path: Path) -> None:
    def work(size: int) -> Callable[[], object]:
        path = tmp_path / str(size)
        path.write_text(start + part * size + "x")
        return lambda: read_env_file(path)

    assert_linear(work)


@pytest.mark.parametrize(
    "line", ["# a\n", "A=b\n", "NAME=b # c\n", "NAME='\n'\n", " " * 900 + "\n"], ids=lambda line: line[:9]
)
def test_a_change_to_an_integrations_file(line: str) -> None:
    def work(size: int) -> Callable[[], object]:
        text = line * size
        return lambda: update(text, {"NAME": "x"})

    assert_linear(work)


@pytest.mark.parametrize("part", ["a", "a,", "a ", ", ", " ", '["', "["], ids=ascii)
def test_a_list_of_filters(part: str) -> None:
    def work(size: int) -> Callable[[], object]:
        return lambda: attempt(parse_filter_list, part * size)

    assert_linear(work)


@pytest.mark.parametrize("part", ["a", "a.", "{", "*", "?", "&a", "{a}.", "\ud800"], ids=ascii)
def test_one_long_filter(part: str) -> None:
    def work(size: int) -> Callable[[], object]:
        return lambda: attempt(parse_topic_filter, part * size)

    assert_linear(work)


def attempt(function: Callable[[str], object], text: str) -> None:
    try:
        function(text)
    except (ValueError, ForwarderError):
        return


def test_many_filters() -> None:
    def work(size: int) -> Callable[[], object]:
        texts = [f"v2.{number % 7}.{{id}}.{number}" for number in range(size)]
        return lambda: minimal_cover(parse_topic_filters(texts))

    assert_linear(work)


def test_a_long_topic() -> None:
    index = FilterIndex((each, each) for each in parse_topic_filters(["a.#", "*.#", "a.a.*.a"]))

    def work(size: int) -> Callable[[], object]:
        topic = ".".join("a" * size)
        return lambda: index.match(topic)

    assert_linear(work)


@pytest.mark.parametrize(
    "packet",
    [b"\x30\x04\x00\x01tp", b"\xd0\x00", b"\x30\xff\xff\xff\x7f", b"\xff"],
    ids=["messages", "pings", "one that does not end", "no length"],
)
@pytest.mark.parametrize("piece", [1, 7, 10**9])
def test_a_brokers_bytes(packet: bytes, piece: int) -> None:
    def work(size: int) -> Callable[[], object]:
        stream = packet * size

        def feed() -> None:
            splitter = PacketSplitter(lambda *_: None)
            for at in range(0, len(stream), piece):
                splitter.feed(stream[at : at + piece])

        return feed

    assert_linear(work)


@pytest.mark.parametrize("line", [b"a", b"\n", b" ", b"ab\n"])
@pytest.mark.parametrize("piece", [7, 10**9])
def test_lines(line: bytes, piece: int) -> None:
    def work(size: int) -> Callable[[], object]:
        text = line * size

        def feed() -> None:
            splitter = LineSplitter()
            for at in range(0, len(text), piece):
                splitter.feed(text[at : at + piece])
            splitter.end()

        return feed

    assert_linear(work)
