"""`forwarder top`: what flows, live on a terminal, a block at a time elsewhere."""

import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from forwarder.commands.daemon import Daemon
from forwarder.commands.output import STATE_STYLES, console, duration, print_json, size, table
from forwarder.commands.tap import until_interrupted
from forwarder.commands.top.rates import IntegrationRates, Look, Rates, RegionRates, rates
from forwarder.errors import ForwarderError


def show(daemon: Daemon, interval: float, *, once: bool, as_json: bool) -> None:
    """Look every `interval` seconds and show what happened in between, until Ctrl-C or q.

    Raises:
        NoDaemonError: there was no daemon to begin with.
        RefusedError: it does not let us look.
    """
    screen = console()
    before = look(daemon)
    with until_interrupted():
        if as_json or once or not screen.is_terminal:
            _print(daemon, before, interval, screen, once=once, as_json=as_json)
        else:
            _live(daemon, before, interval, screen)


def look(daemon: Daemon) -> Look:
    """Ask the daemon for its state and its metrics."""
    status = daemon.get("/api/status")
    return Look.of(time.monotonic(), status, daemon.text("/metrics"))


def _print(daemon: Daemon, before: Look, interval: float, screen: Console, *, once: bool, as_json: bool) -> None:
    while True:
        time.sleep(interval)
        after = look(daemon)
        if as_json and once:
            print_json(rates(before, after))
        elif as_json:
            typer.echo(msgspec.json.encode(rates(before, after)))  # a line each
        else:
            screen.print(picture(rates(before, after)))
        if once:
            return
        if not as_json:
            typer.echo()
        before = after


def _live(daemon: Daemon, before: Look, interval: float, screen: Console) -> None:
    waiting = Text("q or Ctrl-C ends it", "dim")
    with (
        _keys() as pressed,
        Live(waiting, console=screen, screen=True, auto_refresh=False) as live,
    ):
        while pressed(interval) != "q":
            try:
                after = look(daemon)
            except ForwarderError as error:
                live.update(Group(Text(str(error), "bold red"), waiting), refresh=True)
                continue
            live.update(Group(picture(rates(before, after)), Text(), waiting), refresh=True)
            before = after


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed, without Enter. What it gives waits so many seconds at most for one."""
    import termios
    import tty

    def pressed(seconds: float) -> str:
        watched = [sys.stdin] if sys.stdin.isatty() else []
        return sys.stdin.read(1) if select.select(watched, [], [], seconds)[0] else ""

    if not sys.stdin.isatty():
        yield pressed
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def picture(now: Rates) -> RenderableType:
    """All rates as tables."""
    parts: list[RenderableType] = list(_summary(now))
    if now.integrations:
        parts += ["", _integrations(now.integrations)]
    if now.regions:
        parts += ["", _regions(now.regions)]
    return Group(*parts)


def _summary(now: Rates) -> Iterator[Text]:
    yield Text("ready", "green") if now.ready else Text(f"not ready: {'; '.join(now.reasons)}", "bold red")
    for intake in now.intakes:
        state = ("connected", "green") if intake.connected else ("not connected", "bold red")
        counts = (f"{_rate(getattr(intake, key))}/s {key}" for key in ("received", "matched", "unmatched", "malformed"))
        yield Text.assemble(f"intake  {intake.name}, ", state, f" {intake.detail}: {', '.join(counts)}")
    oldest = "" if now.oldest_seconds is None else f", oldest pending {duration(now.oldest_seconds)}"
    yield Text(f"spool   {size(now.spool_bytes)} of {size(now.spool_limit)}{oldest}")


def _integrations(views: tuple[IntegrationRates, ...]) -> RenderableType:
    numbers = ["in/s", "out/s", "backlog", "p50", "p99", "retried/s", "dead/s", "expired/s"]
    rows = table(["integration", "state"], numbers, "trouble")
    for each in views:
        shown = [_rate(each.matched), _rate(each.delivered), str(each.pending), _time(each.p50), _time(each.p99)]
        shown += [_rate(each.retried), _rate(each.dead_lettered), _rate(each.expired)]
        rows.add_row(Text(each.id), Text(each.state, STATE_STYLES.get(each.state, "")), *shown, Text(each.trouble))
    return rows


def _regions(views: tuple[RegionRates, ...]) -> RenderableType:
    rows = table(["region"], ["calls/s", "errors/s", "throttles/s", "p50", "p99", "in flight", "limit"])
    for each in views:
        shown = [_rate(each.calls), _rate(each.errors), _rate(each.throttles), _time(each.p50), _time(each.p99)]
        rows.add_row(Text(each.name), *shown, str(each.in_flight), str(each.limit))
    return rows


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else duration(seconds)
