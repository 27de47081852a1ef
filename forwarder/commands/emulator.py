"""`forwarder emulator`."""

import asyncio
import signal

import typer

from forwarder.emulator.http import Emulator
from forwarder.errors import ConfigurationError, Problem


def run_emulator(host: str, port: int, *, auto_associate: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    asyncio.run(_serve(Emulator(host=host, port=port, auto_associate=auto_associate)))


async def _serve(emulator: Emulator) -> None:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    try:
        await emulator.start()
    except OSError as error:
        message = f"cannot listen on {emulator.host}:{emulator.port}: {error.strerror or error}"
        raise ConfigurationError([Problem(message, key="--port", hint="choose another port")]) from None
    try:
        typer.echo(f"Listening; AWS_ENDPOINT_URL_EVENTBRIDGE={emulator.url}")
        await asked.wait()
    finally:
        await emulator.stop()
