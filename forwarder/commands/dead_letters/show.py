"""Dead letters shown to people and to scripts."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import typer
from rich.text import Text

from forwarder.api.letter import Letter
from forwarder.commands.output import console, print_json, table


def show_list(letters: Sequence[Letter], *, as_json: bool) -> None:
    """A line for each."""
    if as_json:
        print_json(letters)
        return
    if not letters:
        typer.echo("There is no such dead letter.", err=True)
        return
    rows = table(["number", "died", "integration", "reason", "code", "topic"], ["tries"], "message")
    for each in letters:
        words = (str(each.id), _at(each.dead_at), each.integration, each.reason, each.code, each.event.topic)
        rows.add_row(*map(Text, words), str(each.attempts), Text(each.message))
    console().print(rows)


def show_one(letter: Letter, *, as_json: bool) -> None:
    """Everything about one; its event as indented JSON, last."""
    if as_json:
        print_json(letter)
        return
    lines = {
        "number": str(letter.id),
        "integration": letter.integration,
        "died": _at(letter.dead_at),
        "reason": letter.reason,
        "code": letter.code,
        "message": letter.message,
        "tries": str(letter.attempts),
        "received": _at(letter.event.received_at),
        "event's time": _at(letter.event.time),
        "event's id": letter.event.id,
        "topic": letter.event.topic,
        "detail-type": letter.event.detail_type,
    }
    screen = console()
    for name, value in lines.items():
        screen.print(Text.assemble((f"{name:<14}", "bold"), value), soft_wrap=True)
    typer.echo(msgspec.json.format(letter.event.detail, indent=2))


def _at(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"
