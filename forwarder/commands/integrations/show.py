"""Integrations shown to people and to scripts."""

from collections.abc import Iterator
from datetime import UTC, datetime

import typer
from rich.text import Text

from forwarder.commands.integrations.model import Listing, View
from forwarder.commands.output import STATE_STYLES, console, print_json, table


def show_all(listing: Listing, *, as_json: bool) -> None:
    """A line for each; what is wrong with the files on standard error."""
    if as_json:
        print_json({"integrations": listing.integrations, "problems": listing.problems})
        return
    for problem in listing.problems:
        typer.echo(f"forwarder: {problem}", err=True)
    if not listing.integrations:
        typer.echo("There is no integration yet; `forwarder integrations add` makes one.", err=True)
        return
    rows = table(["integration", "wanted", "state", "account", "region", "suffix"], ["filters"], "reason")
    for each in listing.integrations:
        words = (each.account_id, each.region, each.event_source_suffix)
        filters = str(len(each.topic_filters))
        rows.add_row(Text(each.id), each.intended_state, _state(each), *map(Text, words), filters, Text(each.reason))
    console().print(rows)


def show_one(listing: Listing, integration_id: str, *, as_json: bool) -> None:
    """Everything about one.

    Raises:
        ForwarderError: there is no such integration.
    """
    view = listing.find(integration_id)
    if as_json:
        print_json(view)
        return
    screen = console()
    for name, value in _lines(view):
        screen.print(Text.assemble((f"{name:<13}", "bold"), value), soft_wrap=True)


def _lines(view: View) -> Iterator[tuple[str, Text]]:
    yield "id", Text(view.id)
    yield "name", Text(view.name)
    if view.notes:
        yield "notes", Text(view.notes.replace("\n", "\n" + " " * 13))
    yield "state", _state(view)
    yield "reason", Text(view.reason)
    yield "wanted", Text(view.intended_state)
    yield "account", Text(view.account_id)
    yield "region", Text(view.region)
    yield "suffix", Text(view.event_source_suffix)
    yield "event source", Text(view.event_source_name)
    if view.event_source:
        yield "in AWS", Text(_source(view.event_source))
    for number, topic_filter in enumerate(view.topic_filters or ("none: nothing is sent",)):
        yield "" if number else "filters", Text(topic_filter)


def _state(view: View) -> Text:
    return Text(view.state or "-", STATE_STYLES.get(view.state or "", ""))


def _source(source: dict[str, str | float | None]) -> str:
    expires = source.get("expires_at")
    until = f", expires {datetime.fromtimestamp(float(expires), UTC):%Y-%m-%d %H:%M} UTC" if expires else ""
    return f"{source.get('state') or 'not known yet'}{until}"
