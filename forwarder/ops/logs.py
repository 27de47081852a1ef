"""The log: one line per handled problem, as JSON or for a terminal, on standard error.

The standard library's loggers (aiohttp, botocore, aiomqtt, asyncio, warnings) go the same way as ours.
"""

import logging
import sys
import time
from collections.abc import Callable, Hashable
from typing import Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from forwarder.ops.masking import Masker

LogFormat = Literal["json", "console"]


class RateLimit:
    """At most `lines` of one kind in `seconds`; the first line after a silence says how many were left out."""

    _MOST_KINDS = 1000  # a library that formats before it logs makes every line a kind of its own

    def __init__(self, lines: int = 10, seconds: float = 10.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._seconds = seconds
        self._monotonic = monotonic
        self._windows: dict[Hashable, _Window] = {}

    def admit(self, kind: Hashable) -> int | None:
        """None: leave this line out. Else write it, and say that so many before it were left out."""
        now = self._monotonic()
        window = self._windows.get(kind)
        if window is None or now - window.started >= self._seconds:
            suppressed = window.suppressed if window else 0
            self._open(kind, now)
            return suppressed
        if window.written < self._lines:
            window.written += 1
            return 0
        window.suppressed += 1
        return None

    def _open(self, kind: Hashable, now: float) -> None:
        self._windows.pop(kind, None)
        if len(self._windows) >= self._MOST_KINDS:
            del self._windows[next(iter(self._windows))]  # the one opened longest ago
        self._windows[kind] = _Window(now)


class _Window(msgspec.Struct):
    started: float
    written: int = 1
    suppressed: int = 0


def configure(
    level: str,
    form: LogFormat | None,
    masker: Masker,
    *,
    stream: TextIO | None = None,
    rate_limit: RateLimit | None = None,
) -> None:
    """Set up logging for the process. `form` None: for people on a terminal, else JSON lines."""
    stream = stream or sys.stderr
    rate_limit = rate_limit or RateLimit()
    number = logging.getLevelNamesMapping()[level.upper()]
    finish = _finish(form or ("console" if stream.isatty() else "json"), masker, colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _limited(rate_limit),
            structlog.stdlib.add_log_level,
            *finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_LimitRecords(rate_limit))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow=("suppressed",)),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # Below that they say little that we do not say ourselves, and their debug output quotes headers and credentials.
    for name in ("botocore", "aiobotocore", "watchfiles"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a reader of the log that has gone is no reason to print more


def _finish(form: LogFormat, masker: Masker, *, colors: bool) -> list[Processor]:
    """The end of both chains: stamp, exception as text, mask, render."""

    def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: masker.mask(value, name) for name, value in event.items()}

    render: Processor = (
        structlog.processors.JSONRenderer(serializer=lambda event, **_: msgspec.json.encode(event).decode())
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    )
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
        render,
    ]


def _limited(rate_limit: RateLimit) -> Processor:
    """Our own lines: a kind is the event and what it is about, so that one integration's noise hides no other's."""

    def limit(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        suppressed = rate_limit.admit((event.get("event"), event.get("integration"), event.get("region")))
        if suppressed is None:
            raise structlog.DropEvent
        return {**event, "suppressed": suppressed} if suppressed else event

    return limit


class _LimitRecords(logging.Filter):
    """The libraries' lines: a kind is the logger and the message before its arguments are put in."""

    def __init__(self, rate_limit: RateLimit) -> None:
        super().__init__()
        self._rate_limit = rate_limit

    def filter(self, record: logging.LogRecord) -> bool:
        suppressed = self._rate_limit.admit((record.name, str(record.msg)))
        if suppressed:
            record.suppressed = suppressed
        return suppressed is not None


class _Lines:
    """Where structlog's finished lines go. A stream whose reader has gone must not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            return

    debug = info = warning = error = critical = exception = msg
