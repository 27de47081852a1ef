"""How commands print: JSON for scripts, tables and questions for people."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPED_WIDTH = 200

STATE_STYLES = {
    "ACTIVE": "green",
    "ACTIVATING": "yellow",
    "DEACTIVATING": "yellow",
    "INACTIVE": "dim",
    "ERROR": "bold red",
    "PENDING": "bold yellow",
    "DELETED": "bold red",
}


def print_json(value: Any) -> None:
    """The value as indented JSON on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console() -> "Console":
    """Standard output for people: coloured on a terminal, plain and wide when piped."""
    from rich.console import Console

    on_terminal = Console(highlight=False)
    return on_terminal if on_terminal.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)


def table(words: list[str], numbers: list[str], *more: str) -> "Table":
    """A table without lines: columns of words, then of numbers, then of sentences that may wrap."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in words:
        made.add_column(heading.upper(), no_wrap=True)
    for heading in numbers:
        made.add_column(heading.upper(), justify="right", no_wrap=True)
    for heading in more:
        made.add_column(heading.upper())
    return made


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone, where there is somebody to ask; a script has decided already.

    Raises:
        typer.Exit: the answer is no (code 1).
    """
    if yes or not sys.stdin.isatty():
        return
    if not typer.confirm(question, err=True):
        typer.echo("forwarder: nothing was done", err=True)
        raise typer.Exit(1)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error where that is a terminal. What it gives is called with how many more are done."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda more: bar.advance(task, more)


def log_to_stderr() -> None:
    """Standard output is for what the command prints; warnings of the parts that it uses go where errors do."""
    from forwarder.ops import logs
    from forwarder.ops.masking import Masker

    logs.configure("warning", None, Masker(frozenset()))


def counted(number: int, what: str) -> str:
    """`1 dead letter`, `2 dead letters`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def size(of: int) -> str:
    """`4.0 MiB`."""
    from pydantic import ByteSize

    return ByteSize(of).human_readable(separator=" ")


def duration(seconds: float) -> str:
    """The two largest units that matter: `3 d 4 h`, `5 min 2 s`, `0 s`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
