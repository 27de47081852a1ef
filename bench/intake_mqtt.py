"""CPU of the MQTT intake a message, against a real mosquitto and a publisher in processes of their own.

    python bench/intake_mqtt.py [messages]

The second row is the same job by aiomqtt's own message iterator with one acknowledgement a message.
"""

import asyncio
import json
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import uvloop

from forwarder.intake.mqtt import MqttIntake
from forwarder.intake.mqtt_settings import MqttSettings

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/bin") or "mosquitto"
TOPIC = "v2/users/5f2a8a6e-8b0d-4a5f-9a43-2f2b6f0d9c11/presence"
BODY = json.dumps({"topicName": TOPIC.replace("/", "."), "eventBody": {"filler": "x" * 900}}).encode()


def publish(port: int, count: int) -> None:
    """Publish at QoS 1 over a bare socket, as fast as the broker takes it."""
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04fill")
        answers.read(4)
        topic = len(TOPIC).to_bytes(2) + TOPIC.encode()
        length = len(topic) + 2 + len(BODY)
        header = bytes([0x32, length % 128 + 128, length // 128]) + topic
        for start in range(0, count, 250):
            numbers = range(start, min(start + 250, count))
            sock.sendall(b"".join(header + (number % 65535 + 1).to_bytes(2) + BODY for number in numbers))
            answers.read(4 * len(numbers))


async def ours(port: int, directory: Path) -> AsyncIterator[int]:
    """How many messages came, batch by batch; first 0, when all is ready."""
    settings = {"url": f"mqtt://127.0.0.1:{port}", "state_dir": directory}
    intake = MqttIntake(MqttSettings.model_validate(settings))
    intake.subscribe(frozenset({"v2.users.*.presence"}))
    running = asyncio.create_task(intake.run())
    while "1 subscriptions" not in intake.health().detail:  # noqa: ASYNC110  (health is all an intake tells)
        await asyncio.sleep(0.01)
    yield 0
    while not running.done():
        batch = await intake.receive()
        await batch.acknowledge()
        yield len(batch.messages)


async def plain_aiomqtt(port: int, directory: Path) -> AsyncIterator[int]:
    """As `ours`."""
    async with aiomqtt.Client("127.0.0.1", port, identifier=directory.name, clean_session=False) as client:
        paho = client._client  # noqa: SLF001  (manual acknowledgement has no other way)
        paho.manual_ack_set(on=True)
        await client.subscribe("v2/users/+/presence", qos=1)
        yield 0
        async for message in client.messages:
            paho.ack(message.mid, message.qos)
            yield 1


async def measure(port: int, count: int, intake: Callable[[int, Path], AsyncIterator[int]]) -> tuple[float, float]:
    """Seconds of CPU of this process and of the wall clock for `count` messages."""
    with tempfile.TemporaryDirectory() as directory:
        stream = intake(port, Path(directory))
        await anext(stream)
        cpu, wall, taken = time.process_time(), time.perf_counter(), 0
        publisher = subprocess.Popen([sys.executable, __file__, "publish", str(port), str(count)])  # noqa: ASYNC220  (it only starts)
        while taken < count:
            taken += await anext(stream)
        result = time.process_time() - cpu, time.perf_counter() - wall
        publisher.wait()
        return result


def main(count: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        )
        broker = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            print(f"{count} messages of {len(BODY)} bytes; Python {platform.python_version()}, {platform.machine()}")
            for name, intake in (("mqtt intake", ours), ("plain aiomqtt", plain_aiomqtt)):
                cpu, wall = uvloop.run(measure(port, count, intake))
                print(f"{name:15} {cpu / count * 1e6:7.1f} µs CPU a message {count / wall:9.0f} messages/s")
        finally:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 30_000)
