"""The stdout sink on real descriptors: pipes that are slow, full or gone, a full disk."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.errors import PutError
from forwarder.model import Delivery, Destination, Notification, Reason, Verdict
from forwarder.sinks.stdout import StdoutSink

DESTINATION = Destination("123456789012", "eu-west-1", "aws.partner/genesys.com/cloud/organization/crm-prod")
LIMIT = 262_144


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test has closed this one


def delivery(n: int = 1, size: int = 1) -> Delivery:
    detail = b'{"a":"' + b"x" * size + b'", "n":1.0}'
    return Delivery(n, Notification(f"id{n}", "v2.x", detail, 1_774_055_395, 1.0), "crm", "v2.x")


def lines(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.splitlines()]


async def test_each_entry_is_a_line_in_the_form_of_the_api(pipe: tuple[int, int]) -> None:
    results = await StdoutSink(pipe[1], LIMIT).put(DESTINATION, [delivery(1), delivery(2)])
    assert [(result.verdict, result.event_id) for result in results] == [
        (Verdict.ACCEPTED, "id1"),
        (Verdict.ACCEPTED, "id2"),
    ]
    entry = {
        "Time": 1_774_055_395,
        "Source": DESTINATION.event_source_name,
        "Resources": [],
        "DetailType": "v2.x",
        "Detail": '{"a":"x", "n":1.0}',
    }
    assert lines(os.read(pipe[0], 65536)) == [entry, entry]


async def test_a_reader_that_is_slow_holds_up_its_own_calls_and_not_the_loop(pipe: tuple[int, int]) -> None:
    sink = StdoutSink(pipe[1], LIMIT)
    calls = [asyncio.create_task(sink.put(DESTINATION, [delivery(n, 100_000)])) for n in range(3)]
    await asyncio.sleep(0)  # the loop goes on while every call is stuck in a full pipe
    assert not any(call.done() for call in calls)
    read = b""
    while read.count(b"\n") < 3:
        read += await asyncio.to_thread(os.read, pipe[0], 65536)
    await asyncio.gather(*calls)
    assert len(lines(read)) == 3, "calls do not mix their lines"


async def test_a_call_that_is_cancelled_leaves_no_broken_line(pipe: tuple[int, int]) -> None:
    sink = StdoutSink(pipe[1], LIMIT)
    call = asyncio.create_task(sink.put(DESTINATION, [delivery(1, 100_000)]))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    following = asyncio.create_task(sink.put(DESTINATION, [delivery(2)]))
    read = b""
    while read.count(b"\n") < 2:
        read += await asyncio.to_thread(os.read, pipe[0], 65536)
    await following
    assert len(lines(read)) == 2


async def test_a_reader_that_has_gone_fails_the_call_and_nothing_else(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(PutError, match="standard output cannot be written") as caught:
        await StdoutSink(pipe[1], LIMIT).put(DESTINATION, [delivery()])
    assert (caught.value.reason, caught.value.code) == (Reason.CONNECTION, "EPIPE")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_fails_the_call() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(PutError) as caught:
        await StdoutSink(fd, LIMIT).put(DESTINATION, [delivery()])
    os.close(fd)
    assert caught.value.code == "ENOSPC"


async def test_a_write_that_stops_half_way_fails_and_spoils_no_line_after_it(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "lines", os.O_RDWR | os.O_CREAT)
    sink = StdoutSink(fd, LIMIT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(PutError) as caught:
            await sink.put(DESTINATION, [delivery(1, 400_000), delivery(2, 400_000), delivery(3, 400_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "EFBIG"
    await sink.put(DESTINATION, [delivery(3, 1)])
    os.close(fd)
    torn, last = (tmp_path / "lines").read_bytes().splitlines()[2:]
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert json.loads(last)["Detail"] == '{"a":"x", "n":1.0}'


def test_sizes_and_faults_are_those_of_eventbridge() -> None:
    sink = StdoutSink(1, 200)
    assert sink.entry_fault(DESTINATION, delivery()) is None
    fault = sink.entry_fault(DESTINATION, delivery(size=200))
    assert fault is not None
    assert fault[0] is Reason.OVERSIZE
    assert sink.entry_size(DESTINATION, delivery(size=200)) > 200


PROGRAM = """
import asyncio, sys
from forwarder.model import Delivery, Destination, Notification
from forwarder.sinks.base import SinkContext
from forwarder.sinks.stdout import PLUGIN

async def main():
    sink = PLUGIN.create(PLUGIN.settings(), SinkContext(None, 1, 262144))
    note = Notification("id", "t", b'{"a":"' + b"x" * 200_000 + b'"}', 1, 1.0)
    call = asyncio.create_task(sink.put(Destination("1", "r", "aws.partner/a/b"), [Delivery(1, note, "i", "t")]))
    await asyncio.sleep(0)
    call.cancel()
    await sink.close()

asyncio.run(main())
assert not any(name.startswith(("boto", "aiobotocore", "forwarder.aws")) for name in sys.modules)
"""


def test_a_program_ends_though_nobody_reads_its_output_and_needs_nothing_of_aws() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as program:
        assert program.wait(60) == 0
