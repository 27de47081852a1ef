"""Where benchmark events come from: programs of their own, cheap enough not to be what is measured.

    python -m bench.feeders mqtt PORT COUNT RATE | websocket PORT COUNT | file PATH COUNT

Each event is 1,024 bytes and is for exactly one of the two integrations. RATE 0 is as fast as the broker takes it.
"""

import asyncio
import itertools
import json
import random
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from bench.harness import INTEGRATIONS

SIZE = 1024
WINDOW = 200  # messages published before the broker's acknowledgements are read


def notifications(count: int) -> Iterator[tuple[str, bytes]]:
    """Topic and notification; `sent` is when it was made, in epoch seconds."""
    dice = random.Random(1)  # noqa: S311  (the same events in each run)
    users = [str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(5_000)]
    kinds = itertools.cycle(INTEGRATIONS)
    for _, kind in zip(range(count), kinds, strict=False):
        topic = f"v2.users.{dice.choice(users)}.{kind}"
        body = {"sent": time.time(), "filler": ""}
        envelope = {"topicName": topic, "version": "2", "eventBody": body, "metadata": {"CorrelationId": users[0]}}
        bare = json.dumps(envelope, separators=(",", ":"))
        yield topic, bare.replace('"filler":""', f'"filler":"{"x" * (SIZE - len(bare))}"').encode()


def publish(port: int, count: int, rate: float) -> None:
    """MQTT 3.1.1 at QoS 1 over a bare socket (sections 3.1 and 3.3)."""
    packets = mqtt_packets(count)
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench")
        answers.read(4)
        started, sent = time.monotonic(), 0
        while chunk := list(itertools.islice(packets, 1 if rate else WINDOW)):
            if rate:
                time.sleep(max(0.0, started + sent / rate - time.monotonic()))
            sock.sendall(b"".join(chunk))
            answers.read(4 * len(chunk))
            sent += len(chunk)


def mqtt_packets(count: int) -> Iterator[bytes]:
    for number, (topic, payload) in enumerate(notifications(count)):
        name = topic.replace(".", "/").encode()
        rest = len(name).to_bytes(2) + name + (number % 65535 + 1).to_bytes(2) + payload
        yield bytes([0x32, len(rest) % 128 + 128, len(rest) // 128]) + rest


async def stream(port: int, count: int) -> None:
    """A WebSocket server that sends everything to the first client, then waits for it to leave."""
    frames = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for _, payload in notifications(count))
    done = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        view = memoryview(frames)
        for start in range(0, len(view), 1 << 16):
            connection.transport.write(view[start : start + (1 << 16)])
            while connection.transport.get_write_buffer_size() > 1 << 20:  # noqa: ASYNC110  (no drain for raw bytes)
                await asyncio.sleep(0.001)
        await connection.wait_closed()
        done.set()

    async with serve(send, "127.0.0.1", port, compression=None, ping_interval=None):
        await done.wait()


def main(kind: str, place: str, count: str, rate: str = "0") -> None:
    if kind == "mqtt":
        publish(int(place), int(count), float(rate))
    elif kind == "websocket":
        asyncio.run(stream(int(place), int(count)))
    else:
        with Path(place).open("wb") as file:
            file.writelines(payload + b"\n" for _, payload in notifications(int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
