"""CPU of the EventBridge sink per entry: calls of 20 entries of 1 KB to a stub in a process of its own.

python -m bench.sink [CALLS]
"""

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple, cast

import uvloop

from forwarder.model import Delivery, Destination, Notification
from forwarder.sinks.base import SinkContext
from forwarder.sinks.eventbridge import PLUGIN, SERVICE
from forwarder.sinks.eventbridge_answer import read_answer
from forwarder.sinks.eventbridge_entry import encode_body, entry_fault, entry_size, make_entry
from forwarder.sinks.sigv4 import parse_endpoint, sign

ENTRIES = 20
CONCURRENCY = 16
LIMIT = 262_144
DESTINATION = Destination("123456789012", "us-east-1", "aws.partner/genesys.com/cloud/organization/crm-prod")
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutPartnerEvents"}
RESULT = [{"EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860"}] * ENTRIES
ANSWER = json.dumps({"FailedEntryCount": 0, "Entries": RESULT}).encode()


class Keys(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None


class Aws:
    def __init__(self, url: str) -> None:
        self._url = url

    async def endpoint(self, region: str) -> str:
        return self._url

    async def credentials(self) -> Keys:
        return Keys("AKIDEXAMPLE", "a secret key", "a session token" * 40)

    def ca_bundle(self) -> str | bool | None:
        return None


class Stub(asyncio.Protocol):
    """Answers every request with 20 accepted entries, looking at nothing but its length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end and len(rest) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self._received = b""
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))


def serve(port: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def deliveries() -> list[Delivery]:
    body = {"topicName": "v2.users.6f1a2b3c-1111-2222-3333-444455556666.presence", "version": "2"}
    fields = {f"field{n}": {"id": f"value {n}", "n": 1.0} for n in range(25)}
    detail = json.dumps(body | {"eventBody": fields}).encode()[:1023] + b"}"
    notification = Notification("id", body["topicName"], detail, 1_774_055_395, 1.0)
    return [Delivery(n, notification, "crm", "v2.users.{id}.presence") for n in range(ENTRIES)]


async def calls(url: str, count: int) -> tuple[float, float]:
    """CPU and wall seconds of so many calls, warm."""
    sink = PLUGIN.create(PLUGIN.settings(), SinkContext(Aws(url), CONCURRENCY, LIMIT))
    batch = deliveries()

    async def caller(share: int) -> None:
        for _ in range(share):
            await sink.put(DESTINATION, batch)

    async def all_callers(total: int) -> None:
        await asyncio.gather(*(caller(total // CONCURRENCY) for _ in range(CONCURRENCY)))

    await all_callers(CONCURRENCY * 4)
    cpu, wall = time.process_time(), time.perf_counter()
    await all_callers(count)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    await sink.close()
    return spent


def steps(count: int) -> dict[str, float]:
    """CPU seconds of each pure step, for so many calls."""
    batch, endpoint, keys = deliveries(), parse_endpoint("https://events.us-east-1.amazonaws.com"), Keys("a", "b", "c")
    body = encode_body(make_entry(DESTINATION, one) for one in batch)
    work: dict[str, Callable[[], object]] = {
        "size and faults": lambda: [
            (entry_size(DESTINATION, one), entry_fault(DESTINATION, one, LIMIT)) for one in batch
        ],
        "body": lambda: encode_body(make_entry(DESTINATION, one) for one in batch),
        "signature": lambda: sign(
            endpoint, HEADERS, body, region="us-east-1", service=SERVICE, credentials=keys, now=time.time()
        ),
        "answer": lambda: read_answer(200, {}, ANSWER, asked=ENTRIES, now=0.0),
    }
    spent = {}
    for name, step in work.items():
        start = time.process_time()
        for _ in range(count):
            step()
        spent[name] = time.process_time() - start
    return spent


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    ours, theirs = multiprocessing.Pipe(duplex=False)
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    stub.start()
    cpu, wall = uvloop.run(calls(f"http://127.0.0.1:{ours.recv()}", count))
    stub.kill()
    entries = count * ENTRIES
    print(
        f"{ENTRIES} entries of {len(deliveries()[0].notification.detail)} bytes a call, {CONCURRENCY} calls in flight"
    )
    print(f"{'whole call':18}{cpu / entries * 1e6:6.2f} µs of CPU an entry, {entries / wall:,.0f} entries/s")
    for name, seconds in steps(count).items():
        print(f"{name:18}{seconds / entries * 1e6:6.2f}")


if __name__ == "__main__":
    main()
