"""`forwarder tap`: a live copy of the events, printed as they pass."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from rich.text import Text

from forwarder.commands.daemon import Daemon, NoDaemonError, RefusedError
from forwarder.commands.output import console
from forwarder.errors import ConfigurationError, Problem

SILENCE_SECONDS = 45.0  # the daemon shows every 15 seconds that it is there
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # between tries to reach it again; the last one over and over


def follow(daemon: Daemon, integration_id: str | None, topic: str | None, *, as_json: bool) -> None:
    """Print events until Ctrl-C or a closed pipe, and reach for the daemon again whenever it goes away.

    Raises:
        NoDaemonError: it was not there to begin with.
        RefusedError: it does not let us, or there is no such integration.
        ConfigurationError: the topic filter is none.
    """
    show = _print_json if as_json else _printer()
    with until_interrupted():
        for kind, data in _events(daemon, {"integration": integration_id, "topic": topic}):
            if kind == "event":
                show(data)
            elif kind == "dropped":
                typer.echo(f"forwarder: {data['count']} events came too fast to be shown", err=True)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Following ends by Ctrl-C or when nobody reads on, and that is its proper end."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe: else the flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _events(daemon: Daemon, query: dict[str, str | None]) -> Iterator[tuple[str, Any]]:
    """The daemon's events, across restarts of it."""
    failures, been_there, told = 0, False, False
    while True:
        try:
            for event in daemon.follow("/api/tap", silence=SILENCE_SECONDS, **query):
                failures, been_there, told = 0, True, False
                yield event
        except NoDaemonError as error:
            if not been_there:
                raise
            if not told:
                typer.echo(f"forwarder: {error} Waiting for it.", err=True)
                told = True
        except RefusedError as error:
            raise _explained(error) from None
        time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
        failures += 1


def _explained(error: RefusedError) -> Exception:
    details = error.body.get("details") or ()
    if error.status != 400 or not details:
        return error
    return ConfigurationError([Problem(str(each["message"]), key=f"--{each['fieldName']}") for each in details])


def _print_json(event: Any) -> None:
    import json

    typer.echo(json.dumps(event, ensure_ascii=False))


def _printer() -> Callable[[Any], None]:
    screen = console()

    def show(event: Any) -> None:
        at = datetime.fromtimestamp(event["received_at"], UTC)
        head = (f"{at:%H:%M:%S.%f}"[:-3], event["integration"], event["topic"])
        screen.print(
            Text.assemble((head[0], "dim"), " ", (head[1], "bold cyan"), " ", (head[2], "bold")), soft_wrap=True
        )
        screen.print(Text(f"  {event['detail']}"), soft_wrap=True)

    return show
