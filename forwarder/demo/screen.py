"""What the demonstration shows: where to look, what is delivered now, and at the end whether it adds up."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forwarder.app import Daemon
from forwarder.emulator.event_log import Event
from forwarder.emulator.http import Emulator

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 2.0
SHOWN_EVENTS = 8


class Screen:
    """A live table on a terminal, a line every two seconds elsewhere."""

    def __init__(self, daemon: Daemon, emulator: Emulator, directory: Path, broker: str, token: str) -> None:
        self._daemon = daemon
        self._emulator = emulator
        self._directory = directory
        self._broker = broker
        self._token = token
        self._console = Console(highlight=False)
        self._seen = 0
        self._recent: list[Event] = []

    def introduce(self) -> None:
        """Say what runs and where to look."""
        here = f"http://127.0.0.1:{self._daemon.http.port}"
        rows = [
            ("console", f"{here}/"),
            ("token", f"{self._token} — sign in with it to change the integrations"),
            ("notifications in", f"{self._broker}, topics v2/…"),
            ("integrations", f"{self._directory / 'integrations'} — edit a filter and see it take effect"),
            ("state", f"curl -H 'Authorization: Bearer {self._token}' {here}/api/status"),
            ("metrics", f"{here}/metrics"),
            ("delivered events", f"{self._emulator.url}/_emulator/events"),
            ("log", str(self._directory / "forwarder.log")),
        ]
        grid = Table.grid(padding=(0, 2))
        for name, place in rows:
            grid.add_row(Text(name, style="bold"), Text(place, overflow="fold"))
        self._console.print(grid)
        self._console.print("Ctrl-C stops it.\n")

    async def run(self) -> None:
        """Show until cancelled."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_SECONDS)
                self._console.print(self._line())
        with Live(self._picture(), console=self._console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                live.update(self._picture(), refresh=True)

    def conclude(self, published: int, missing: Mapping[str, int]) -> int:
        """Hold what was published, received, matched and delivered against each other; `missing` are the notifications
        that have not arrived, by event source. Returns the exit code."""
        faults = [*self._faults(), *(f"{name}: {count} notifications are missing." for name, count in missing.items())]
        delivered = sum(lane.delivered for lane in self._daemon.books.lanes.values())
        self._console.print(f"{published} notifications published, those that a filter wants received: {self._line()}")
        for fault in faults:
            self._console.print(f"[red]{fault}[/red]")
        if not faults:
            self._console.print(f"{delivered} deliveries made, nothing lost, the books balance.")
        return 1 if faults else 0

    def _faults(self) -> list[str]:
        books = self._daemon.books
        arrived = self._emulator.state.stats()["entries"]
        assert isinstance(arrived, dict)  # noqa: S101  (for the type checker)
        delivered = sum(lane.delivered for lane in books.lanes.values())
        faults = [] if delivered else ["Nothing was delivered."]
        if arrived["delivered"] < delivered:
            faults.append(f"{delivered} deliveries are booked, and only {arrived['delivered']} arrived.")
        for name, lane in books.lanes.items():
            if lane.pending:
                faults.append(f"{name}: {lane.pending} of {lane.matched} deliveries are still pending.")
            if lane.dead_lettered or lane.expired:
                faults.append(f"{name}: {sum(lane.dead_lettered.values())} dead letters, {lane.expired} expired.")
        return faults

    def _line(self) -> str:
        intake = self._daemon.books.intakes.get("mqtt")
        received = f"received {intake.received}, unmatched {intake.unmatched}" if intake else "nothing received yet"
        lanes = "; ".join(
            f"{name}: delivered {lane.delivered}, pending {lane.pending}"
            for name, lane in sorted(self._daemon.books.lanes.items())
        )
        return f"{received}; {lanes}" if lanes else received

    def _picture(self) -> Group:
        table = Table("integration", "state", "account", "region", expand=True)
        for heading in ("matched", "delivered", "pending"):
            table.add_column(heading, justify="right")
        for status in self._daemon.statuses:
            integration, lane = status.integration, self._daemon.books.lanes.get(status.integration.id)
            counts = (lane.matched, lane.delivered, lane.pending) if lane else (0, 0, 0)
            columns = (integration.name, status.state, integration.account_id, integration.region, *map(str, counts))
            table.add_row(*columns)
        return Group(table, self._latest())

    def _latest(self) -> Table:
        for event in self._emulator.state.events(since=self._seen):
            self._seen = event.sequence
            self._recent = [*self._recent[-SHOWN_EVENTS + 1 :], event]
        table = Table("delivered to", "detail-type", expand=True)
        table.add_column("bytes", justify="right")
        for event in self._recent:
            source = event.source.rsplit("/", 1)[-1]
            table.add_row(f"{source} ({event.account}, {event.region})", event.detail_type, str(len(event.detail)))
        return table
