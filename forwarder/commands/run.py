"""`forwarder run`."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import typer

from forwarder.app import Daemon
from forwarder.commands.configuration import env_file_to_use, load_settings
from forwarder.errors import ForwarderError
from forwarder.ops import logs
from forwarder.ops.masking import Masker
from forwarder.settings import export_aws
from forwarder.surroundings import Configured

log = structlog.get_logger()


def run_daemon(env_file: Path | None) -> None:
    """Run until a signal, or until the intake's stream has ended.

    Raises:
        ForwarderError: what stopped it, in a sentence; a ConfigurationError where only the user can mend it.
    """
    env_file = env_file_to_use(env_file)
    configured = Configured(*load_settings(env_file))
    export_aws(env_file)
    logs.configure(configured.own.log_level, configured.own.log_format, Masker(configured.secrets()))
    # Events live briefly and form no cycles: looking for some at every 700 new objects costs a tenth of the CPU.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        _run(_serve(configured))
    except BaseExceptionGroup as group:
        raise _told(group) from None


@asynccontextmanager
async def _stopped_by_signals(daemon: Daemon) -> AsyncIterator[None]:
    """SIGTERM and SIGINT drain the daemon; a second one ends it at once. What is not sent is in the spool."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    asked = False

    def ask() -> None:
        nonlocal asked
        if asked and task:
            task.cancel()
        asked = True
        daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _serve(configured: Configured) -> None:
    """Run one daemon until a signal ends it."""
    daemon = Daemon(configured)
    with contextlib.suppress(asyncio.CancelledError):
        async with _stopped_by_signals(daemon):
            await daemon.run()
    if daemon.hangs:
        # The interpreter would wait for the thread that hangs. All that was acknowledged is on disk.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _run(main: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":  # uvloop is not made for it
        asyncio.run(main)
        return
    import uvloop

    uvloop.run(main)


def _told(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to end with: an error that says what to do, if there is one. The log has all that nobody foresaw."""
    leaves = list(_leaves(group))
    foreseen = [error for error in leaves if isinstance(error, ForwarderError)]
    for error in leaves:
        if not isinstance(error, ForwarderError):
            log.critical("crashed", exc_info=error)
    return foreseen[0] if foreseen else typer.Exit(1)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
