"""An admin who writes, breaks, mends and removes integration files, and asks for activations and deletions."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from forwarder.integrations.directory import write_atomically
from forwarder.integrations.env_file import render
from forwarder.model import Integration, IntendedState
from tests.simulation.loop import Universe

NAMES = ("alpha", "bravo", "charlie", "delta")
REGIONS = ("us-east-1", "eu-west-1")
FILTERS = (
    "v2.users.{id}.presence",
    "v2.users.{id}.routingStatus",
    "v2.users.*.presence",
    "v2.routing.queues.{id}.users",
    "v2.users.#",
    "v2.custom.{id}.thing",
    "v2.custom.#",
)


class Admin:
    """`wanted` is what the files say, or said last; `deleted` are those whose deletion was asked for."""

    def __init__(self, universe: Universe, directory: Path, note: Callable[..., None]) -> None:
        self._universe = universe
        self._directory = directory
        self._note = note
        self._generation = 0
        self.wanted: dict[str, Integration] = {}
        self.deleted: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The file of an integration."""
        return self._directory / f"{name}.env"

    def write(self, name: str, **changes: object) -> None:
        """Write the file, with changes, in one step."""
        integration = self.wanted[name] = msgspec.structs.replace(self.wanted.get(name) or self._new(name), **changes)
        self._note("admin", name, changes)
        write_atomically(self.path(name), render(integration))

    def _new(self, name: str) -> Integration:
        chance = self._universe.chance
        return Integration(
            id=name,
            name=name,
            notes="",
            account_id="123456789012",
            region=chance.choice(REGIONS),
            event_source_suffix=self._suffix(name),
            topic_filters=self._filters(),
            intended_state=IntendedState.ENABLED,
        )

    def _suffix(self, name: str) -> str:
        self._generation += 1
        return f"{name}-{self._generation}"

    def _filters(self) -> tuple[str, ...]:
        return tuple(self._universe.chance.sample(FILTERS, self._universe.chance.randint(1, 3)))

    def act(self) -> str | None:
        """Do something to a file. Returns the name of an integration whose deletion is to be asked for."""
        chance = self._universe.chance
        name = chance.choice(NAMES)
        if name not in self.wanted or name in self.deleted:
            self.deleted.discard(name)
            self.wanted.pop(name, None)
            self.write(name)
            return None
        match chance.randrange(11):
            case 6:
                self._note("admin", name, "breaks")
                self.path(name).write_text("NAME=\nNONSENSE")
            case 7:
                self._note("admin", name, "removes")
                self.path(name).unlink(missing_ok=True)
            case 8:
                return self.delete(name)
            case 9:
                self._tear(name)
            case choice:
                self._change(name, choice)
        return None

    def _change(self, name: str, choice: int) -> None:
        chance = self._universe.chance
        match choice:
            case 0:
                self.write(name, event_source_suffix=self._suffix(name))
            case 1:
                self.write(name, region=chance.choice(REGIONS))
            case 2:
                other = self.wanted[chance.choice(sorted(self.wanted))]
                self.write(name, event_source_suffix=other.event_source_suffix, region=other.region)
            case 3:
                self.toggle(name)
            case _:
                self.write(name, topic_filters=self._filters())

    def _tear(self, name: str) -> None:
        """Write the file as an editor may: half of it is there for a moment."""
        integration = self.wanted[name] = msgspec.structs.replace(self.wanted[name], topic_filters=self._filters())
        text = render(integration)
        self._note("admin", name, "tears")
        self.path(name).write_text(text[: self._universe.chance.randrange(len(text))])
        self._universe.later(self._universe.chance.uniform(0, 0.09), lambda: self._finish(name, text))

    def _finish(self, name: str, text: str) -> None:
        if name not in self.deleted:
            self.path(name).write_text(text)

    def toggle(self, name: str) -> None:
        """Enable what is disabled and the other way round."""
        enabled = self.wanted[name].intended_state is IntendedState.ENABLED
        self.write(name, intended_state=IntendedState.DISABLED if enabled else IntendedState.ENABLED)

    def delete(self, name: str) -> str:
        """Want it deleted; the file goes once the deletion is durable."""
        self._note("admin", name, "deletes")
        self.deleted.add(name)
        return name

    def mend(self) -> None:
        """Put every file right, and enable all."""
        suffixes: set[str] = set()
        for name in sorted(self.wanted):
            if name not in self.deleted:
                suffix = self.wanted[name].event_source_suffix
                suffix = self._suffix(name) if suffix in suffixes else suffix
                suffixes.add(suffix)
                self.write(name, intended_state=IntendedState.ENABLED, event_source_suffix=suffix)
