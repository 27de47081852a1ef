"""`forwarder run`."""

import asyncio
import gc
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import structlog
import typer

from forwarder.app import Configured, serve
from forwarder.commands.configuration import env_file_to_use, load_settings
from forwarder.errors import ForwarderError
from forwarder.ops import logs
from forwarder.ops.masking import Masker
from forwarder.settings import export_aws

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
        _run(serve(configured))
    except BaseExceptionGroup as group:
        raise _told(group) from None


def _run(main: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":  # uvloop is not made for it
        asyncio.run(main)
        return
    import uvloop  # noqa: PLC0415

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
