"""An MQTT broker for the demonstration: mosquitto where it is installed, else one inside this process."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from forwarder.errors import ForwarderError

# Where packages put daemons, which is not on every user's PATH.
PLACES = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
START_SECONDS = 10.0


@asynccontextmanager
async def broker(directory: Path) -> AsyncIterator[tuple[str, int]]:
    """Run a broker that keeps its files in `directory`, on loopback alone. Gives its name and port.

    Raises:
        ForwarderError: there is no broker to be had, or it does not start.
    """
    port = free_port()
    mosquitto = shutil.which("mosquitto", path=os.pathsep.join(PLACES))
    running = _mosquitto(mosquitto, directory, port) if mosquitto else _embedded(port)
    async with running as name:
        yield name, port


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, else any port that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _mosquitto(program: str, directory: Path, port: int) -> AsyncIterator[str]:
    config, log = directory / "mosquitto.conf", directory / "mosquitto.log"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n")
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C is for us, and the broker must outlive the daemon's goodbye.
        process = await asyncio.create_subprocess_exec(
            program, "-c", str(config), stdout=output, stderr=output, start_new_session=True
        )
        try:
            await _until_listening(port, process, log)
            yield "mosquitto"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _until_listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if process.returncode is not None:
                said = await asyncio.to_thread(log.read_text, errors="replace")
                raise ForwarderError(f"mosquitto did not start: {said.strip()[-300:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@asynccontextmanager
async def _embedded(port: int) -> AsyncIterator[str]:
    try:
        from amqtt.broker import Broker  # noqa: PLC0415  (an extra that only this needs)
    except ImportError as error:
        raise ForwarderError(
            "The demonstration needs an MQTT broker: install mosquitto, or forwarder with its extra `demo`."
        ) from error
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    embedded = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins})
    await embedded.start()
    try:
        yield "embedded broker"
    finally:
        await embedded.shutdown()
