"""What a PutPartnerEvents call costs the emulator: CPU and rate, with signed calls of 20 entries of 1 KB.

`python -m bench.emulator [CALLS]` starts the emulator in a process of its own and drives it over loopback from this one
by replaying one signed request, so that the client's own work stays out of the figures.
"""

import asyncio
import multiprocessing
import platform
import sys
import time
from multiprocessing.connection import Connection

import msgspec
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from forwarder.emulator.http import Emulator

ENTRIES = 20
CONNECTIONS = 8
WARM_UP_CALLS = 500
REGION = "us-east-1"
SOURCE = "aws.partner/example.com/organization/suffix"


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_emulator, args=(there,), daemon=True)
    process.start()
    port = here.recv()
    cpu, wall = uvloop.run(drive(port, calls, here))
    process.terminate()
    process.join()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"{calls:,} calls of {ENTRIES} entries of 1 KB over {CONNECTIONS} connections")
    print(f"emulator CPU   {cpu / calls * 1e6:8.0f} µs a call   {cpu / calls / ENTRIES * 1e6:6.1f} µs an event")
    print(f"throughput     {calls / wall:8,.0f} calls/s     {calls * ENTRIES / wall:10,.0f} events/s")


def run_emulator(pipe: Connection) -> None:
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    """Say the port, then answer every message with the CPU seconds used so far."""
    async with Emulator(auto_associate=True, put_calls_per_second=None, credentials={"test": "test"}) as emulator:
        pipe.send(emulator.port)
        while await asyncio.to_thread(pipe.recv):
            pipe.send(time.process_time())


async def drive(port: int, calls: int, pipe: Connection) -> tuple[float, float]:
    """CPU seconds of the emulator, and seconds on the clock, for so many calls."""
    await send(port, signed(port, "CreatePartnerEventSource", {"Name": SOURCE, "Account": "123456789012"}), 1)
    request = signed(port, "PutPartnerEvents", {"Entries": [entry(number) for number in range(ENTRIES)]})
    await send(port, request, WARM_UP_CALLS)
    before, started = cpu_seconds(pipe), time.perf_counter()
    await asyncio.gather(*(send(port, request, calls // CONNECTIONS) for _ in range(CONNECTIONS)))
    return cpu_seconds(pipe) - before, time.perf_counter() - started


async def send(port: int, request: bytes, times: int) -> None:
    """Send the request so often over one connection, each time waiting for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(times):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200") or b"ErrorCode" in answer:
            raise SystemExit(f"the emulator refused: {answer.decode()}")
    writer.close()
    await writer.wait_closed()


def cpu_seconds(pipe: Connection) -> float:
    pipe.send(True)
    return float(pipe.recv())


def entry(number: int) -> dict[str, object]:
    """An entry that counts for 1,024 bytes or a few more."""
    head = f'{{"topicName":"v2.users.{number:036}.presence","version":"2","eventBody":{{"note":"'
    detail = head + "x" * (945 - len(head)) + '"}}'
    return {"Time": 1_750_000_000, "Source": SOURCE, "DetailType": "v2.users.{id}.presence", "Detail": detail}


def signed(port: int, operation: str, body: dict[str, object]) -> bytes:
    """The bytes of a signed HTTP request."""
    content = msgspec.json.encode(body)
    headers = {"X-Amz-Target": f"AWSEvents.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", f"http://127.0.0.1:{port}/", headers=headers, data=content)
    SigV4Auth(Credentials("test", "test"), "events", REGION).add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Host: 127.0.0.1:{port}", f"Content-Length: {len(content)}"]
    return ("POST / HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + content


if __name__ == "__main__":
    main()
