"""`forwarder status`: ask the running daemon and show its answer to people."""

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from forwarder.commands.output import STATE_STYLES, console, duration, size, table
from forwarder.errors import ForwarderError, Problem

Status = dict[str, Any]


def show(status: Status) -> None:
    """The status for people: coloured on a terminal, plain when piped.

    Raises:
        ForwarderError: it is not of the form that this version knows.
    """
    try:
        parts = list(_parts(status))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        version = status.get("version", "of another version")
        raise ForwarderError(
            f"the daemon, forwarder {version}, tells its status in another form than this command reads; "
            "use the command of the same version, or --json"
        ) from error
    screen = console()
    for part in parts:
        screen.print(part)


def _parts(status: Status) -> Iterator[Text | Table]:
    yield from _summary(status)
    if status["integrations"]:
        yield Text()
        yield _integrations(status)
    if status["regions"]:
        yield Text()
        yield _regions(status)


def _summary(status: Status) -> Iterator[Text]:
    ready = ("ready", "green") if status["ready"] else ("not ready", "bold red")
    up = duration(status["now"] - status["started_at"])
    yield Text.assemble(f"forwarder {status['version']}, up {up}, ", ready)
    for reason in status["reasons"]:
        yield Text(f"  {reason}", "red")
    intake = status["intake"]
    state = "connected" if intake["connected"] else "not connected"
    yield Text(f"intake     {intake['name']}, {state}: {intake['detail']}")
    for name, books in status["books"]["intakes"].items():
        counts = ", ".join(f"{books[key]} {key}" for key in ("received", "matched", "unmatched", "malformed"))
        yield Text(f"           {name}: {counts}")
    spool = status["spool"]
    oldest = "" if spool["oldest_seconds"] is None else f", oldest pending {duration(spool['oldest_seconds'])}"
    yield Text(f"spool      {size(spool['bytes_used'])} of {size(spool['bytes_limit'])}{oldest}")
    problems = status["reload"]["problems"]
    yield Text(f"files      {f'{len(problems)} problem(s)' if problems else 'in order'}", "red" if problems else "")
    for problem in problems:
        yield Text(f"  {msgspec.convert(problem, Problem)}", "red")


def _integrations(status: Status) -> Table:
    rows = table(["integration", "state", "source"], ["pending", "delivered", "dead", "expired", "retried"], "trouble")
    for integration in status["integrations"]:
        id_ = integration["id"]
        books = status["books"]["integrations"].get(id_, {})
        lane = status["lanes"].get(id_) or {}
        source = (integration["event_source"] or {}).get("state") or "-"
        told = lane.get("trouble") or ("" if integration["state"] == "ACTIVE" else integration["reason"])
        rows.add_row(
            Text(id_),
            Text(integration["state"], STATE_STYLES.get(integration["state"], "yellow")),
            Text(source, "" if source == "ACTIVE" else STATE_STYLES.get(source, "")),
            *(str(books.get(key, 0)) for key in ("pending", "delivered")),
            str(sum(books.get("dead_lettered", {}).values())),
            str(books.get("expired", 0)),
            str(sum(books.get("retried", {}).values())),
            Text(told),
        )
    return rows


def _regions(status: Status) -> Table:
    rows = table(["region"], ["in flight", "limit", "throttles"])
    for name, region in sorted(status["regions"].items()):
        rows.add_row(name, *(str(region[key]) for key in ("in_flight", "limit", "throttles")))
    return rows
