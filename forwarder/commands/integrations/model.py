"""What the commands about integrations pass around, whether a daemon or the files are behind it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from forwarder.errors import ConfigurationError, ForwarderError, Problem
from forwarder.model import IntendedState
from forwarder.rules.validation import Key

OPTIONS = {
    Key.NAME: "--name",
    Key.NOTES: "--notes",
    Key.AWS_ACCOUNT_ID: "--account",
    Key.AWS_ACCOUNT_REGION: "--region",
    Key.EVENT_SOURCE_SUFFIX: "--suffix",
    Key.EVENT_FILTER: "--filter",
}


class View(msgspec.Struct, frozen=True):
    """One integration as it is shown. `state` is None where no daemon runs that could tell; `event_source` is what AWS
    said of the source last."""

    id: str
    name: str
    notes: str
    account_id: str
    region: str
    event_source_suffix: str
    topic_filters: tuple[str, ...]
    intended_state: IntendedState
    event_source_name: str
    state: str | None
    reason: str
    event_source: dict[str, str | float | None] | None = None


class Listing(msgspec.Struct, frozen=True):
    """All integrations, and what is wrong with the files."""

    integrations: tuple[View, ...]
    problems: tuple[Problem, ...] = ()

    def find(self, integration_id: str) -> View:
        """The one with that id.

        Raises:
            ForwarderError: there is none.
        """
        for view in self.integrations:
            if view.id == integration_id:
                return view
        own = [problem for problem in self.problems if (problem.source or "").endswith(f"/{integration_id}.env")]
        if own:
            raise ConfigurationError(own)
        known = ", ".join(view.id for view in self.integrations) or "none"
        raise ForwarderError(f"there is no integration {integration_id}; there are: {known}")


class Edit(msgspec.Struct, frozen=True):
    """What is to change. None leaves it as it is; `topic_filters` replaces all of them, the other two are for some."""

    name: str | None = None
    notes: str | None = None
    account_id: str | None = None
    region: str | None = None
    event_source_suffix: str | None = None
    topic_filters: tuple[str, ...] | None = None
    add_filters: tuple[str, ...] = ()
    remove_filters: tuple[str, ...] = ()

    def moves(self, now: View) -> bool:
        """Whether the account, the region or the suffix will be another: the event source will."""
        wanted = (self.account_id, self.region, self.event_source_suffix)
        before = (now.account_id, now.region, now.event_source_suffix)
        return any(new not in (None, old) for new, old in zip(wanted, before, strict=True))

    def values(self, filters_now: Sequence[str]) -> dict[Key, str | tuple[str, ...]]:
        """The new values by the key of the file.

        Raises:
            ConfigurationError: a filter that is to be removed is not there.
        """
        given = {
            Key.NAME: self.name,
            Key.NOTES: self.notes,
            Key.AWS_ACCOUNT_ID: self.account_id,
            Key.AWS_ACCOUNT_REGION: self.region,
            Key.EVENT_SOURCE_SUFFIX: self.event_source_suffix,
            Key.EVENT_FILTER: self._filters(filters_now),
        }
        return {key: value for key, value in given.items() if value is not None}

    def _filters(self, now: Sequence[str]) -> tuple[str, ...] | None:
        if not self.add_filters and not self.remove_filters:
            return self.topic_filters
        if self.topic_filters is not None:
            fault = "--filter replaces all filters and goes with neither --add-filter nor --remove-filter"
            raise ConfigurationError([Problem(fault)])
        absent = [each for each in self.remove_filters if each not in now]
        if absent:
            hint = f"its filters are: {', '.join(now) or 'none'}"
            raise ConfigurationError(
                [Problem(f"there is no filter {each}", key="--remove-filter", hint=hint) for each in absent]
            )
        kept = [each for each in now if each not in self.remove_filters]
        return tuple(dict.fromkeys([*kept, *self.add_filters]))


class Integrations(Protocol):
    """Where the commands read and change integrations: the running daemon, or the files.

    All methods raise ForwarderError for what cannot be done, and ConfigurationError with every mistake in what was
    given. Those that change something return what follows from it, in a sentence.
    """

    def listing(self) -> Listing:
        """All of them."""
        ...

    def add(self, integration_id: str, edit: Edit) -> str:
        """A new one, which is DISABLED."""
        ...

    def change(self, integration_id: str, edit: Edit) -> str:
        """Change what the edit names and nothing else."""
        ...

    def activate(self, integration_id: str) -> str:
        """ENABLED, by name: after a change of identity and of a source that is gone as well."""
        ...

    def deactivate(self, integration_id: str) -> str:
        """DISABLED: events pause, the event source stays."""
        ...

    def delete(self, integration_id: str) -> str:
        """With its event source in AWS."""
        ...
