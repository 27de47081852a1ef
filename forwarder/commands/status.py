"""`forwarder status`: ask the running daemon and show its answer to people."""

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from pydantic import ByteSize
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forwarder.commands.configuration import env_file_to_use
from forwarder.errors import ConfigurationError, ForwarderError, Problem
from forwarder.settings import HttpSettings

_TIMEOUT_SECONDS = 10
_PIPED_WIDTH = 200
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what is listened on there is asked here)
_STYLES = {"ACTIVE": "green", "ERROR": "bold red", "PENDING": "bold yellow", "DELETED": "bold red", "INACTIVE": "dim"}

Status = dict[str, Any]


def fetch(env_file: Path | None, url: str | None) -> Status:
    """The daemon's `/api/status`, asked with the token that the settings name.

    Raises:
        ConfigurationError: the settings cannot be read, or the URL is none.
        ForwarderError: no daemon answers, or it refuses.
    """
    settings = HttpSettings.load(env_file_to_use(env_file))
    token = settings.viewer_token or settings.admin_token
    base = url or _url(settings)
    status, body = _get(base, "/api/status", token.get_secret_value() if token else None)
    try:
        answer: Status = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ForwarderError(f"what answers at {base} is no forwarder") from None
    if status != 200:
        raise ForwarderError(f"the daemon at {base} refuses: {answer.get('message', status)}")
    return answer


def _url(settings: HttpSettings) -> str:
    host = _EVERY_ADDRESS.get(settings.http_host, settings.http_host)
    return f"http://[{host}]:{settings.http_port}" if ":" in host else f"http://{host}:{settings.http_port}"


def _get(base: str, path: str, token: str | None) -> tuple[int, bytes]:
    """One GET without proxies or redirects: the daemon is asked, and nobody else gets the token."""
    connection, prefix = _connection(base)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", prefix + path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ForwarderError(f"no daemon answers at {base}: {reason}; is `forwarder run` running there?") from None
    finally:
        connection.close()


def _connection(base: str) -> tuple[HTTPConnection, str]:
    """A connection that is not open yet, and the path that the URL begins with."""
    try:
        parts = urlsplit(base)
        connect = {"http": HTTPConnection, "https": HTTPSConnection}[parts.scheme]
        return connect(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS), parts.path.rstrip("/")
    except (KeyError, ValueError):
        hint = "as in http://127.0.0.1:8080"
        raise ConfigurationError([Problem(f"{base!r} is no URL of a daemon", key="--url", hint=hint)]) from None


def show(status: Status) -> None:
    """The status for people: coloured on a terminal, plain when piped."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPED_WIDTH)
    for line in _summary(status):
        console.print(line)
    if status["integrations"]:
        console.print()
        console.print(_integrations(status))
    if status["regions"]:
        console.print()
        console.print(_regions(status))


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
    yield Text(f"spool      {_size(spool['bytes_used'])} of {_size(spool['bytes_limit'])}{oldest}")
    problems = status["reload"]["problems"]
    yield Text(f"files      {f'{len(problems)} problem(s)' if problems else 'in order'}", "red" if problems else "")
    for problem in problems:
        yield Text(f"  {msgspec.convert(problem, Problem)}", "red")


def _integrations(status: Status) -> Table:
    table = _table(
        ["integration", "state", "source"], ["pending", "delivered", "dead", "expired", "retried"], "trouble"
    )
    for integration in status["integrations"]:
        id_ = integration["id"]
        books = status["books"]["integrations"].get(id_, {})
        lane = status["lanes"].get(id_) or {}
        source = (integration["event_source"] or {}).get("state") or "-"
        told = lane.get("trouble") or ("" if integration["state"] == "ACTIVE" else integration["reason"])
        table.add_row(
            Text(id_),
            Text(integration["state"], _STYLES.get(integration["state"], "yellow")),
            Text(source, "" if source == "ACTIVE" else _STYLES.get(source, "")),
            *(str(books.get(key, 0)) for key in ("pending", "delivered")),
            str(sum(books.get("dead_lettered", {}).values())),
            str(books.get("expired", 0)),
            str(sum(books.get("retried", {}).values())),
            Text(told),
        )
    return table


def _regions(status: Status) -> Table:
    table = _table(["region"], ["in flight", "limit", "throttles"])
    for name, region in sorted(status["regions"].items()):
        table.add_row(name, *(str(region[key]) for key in ("in_flight", "limit", "throttles")))
    return table


def _table(words: list[str], numbers: list[str], *more: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in words:
        table.add_column(heading.upper(), no_wrap=True)
    for heading in numbers:
        table.add_column(heading.upper(), justify="right", no_wrap=True)
    for heading in more:
        table.add_column(heading.upper())
    return table


def _size(size: int) -> str:
    return ByteSize(size).human_readable(separator=" ")


def duration(seconds: float) -> str:
    """The two largest units that matter: `3 d 4 h`, `5 min 2 s`, `0 s`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
