"""What an admin does to integrations over the API: carried out on their files, which everything else follows.

The files stay the one place where an integration is configured. A change is made in place, with its comments and order
kept, checked as the reloader would check it, and taken up before the answer is given. Changes by the API wait for each
other; one that somebody else has made to the file meanwhile is found by its content, right before writing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from forwarder.api.changes import FIELDS, configuration_changes, differences, fault_of, free_id
from forwarder.api.integration_files import Files, Reading, Stored, conflict
from forwarder.api.models import CreateIntegration, UpdateConfiguration
from forwarder.clock import Clock
from forwarder.errors import ForwarderError, Problem
from forwarder.integrations import env_file
from forwarder.integrations.directory import INTEGRATION_ID
from forwarder.model import Integration, IntegrationStatus, IntendedState, State
from forwarder.ops.refusals import Fault, Refused
from forwarder.record import RecordError
from forwarder.rules.validation import MAX_INTEGRATIONS, SUFFIX_NOT_UNIQUE, Key, Rules, suffix_holder

_RESERVED = "types"  # the path of the integration types is in the way


class Lifecycle(Protocol):
    """What is asked of the reconciler; both requests raise ForwarderError."""

    async def request_activation(self, integration_id: str) -> None:
        """Activate by name. Durable on return."""
        ...

    async def request_deletion(self, integration_id: str) -> None:
        """Delete by name. Durable on return."""
        ...

    def deleting(self) -> frozenset[str]:
        """The integrations that are being deleted."""
        ...


class Live(msgspec.Struct, frozen=True):
    """Where the daemon tells what it knows of the integrations now: what each is doing, what was wrong with the files
    at the last look, and all ids that there are books of, those long gone included. `reload` looks at the files."""

    statuses: Callable[[], Sequence[IntegrationStatus]]
    problems: Callable[[], Sequence[Problem]]
    used_ids: Callable[[], Collection[str]]
    reload: Callable[[], Awaitable[Any]]


class View(msgspec.Struct, frozen=True):
    """All that is known of one integration: what it does (None: its file was never taken), its file (None: there is
    none), what is wrong with that, whether it is being deleted, and since when (epoch seconds) this is so."""

    id: str
    status: IntegrationStatus | None
    stored: Stored | None
    problems: tuple[str, ...]
    deleting: bool
    since: float

    @property
    def values(self) -> Mapping[str, str]:
        """The configuration by the keys of the file: as written there, else as it was last."""
        if self.stored is not None and (self.stored.file.values or self.status is None):
            return self.stored.file.values
        return env_file.values_of(self.status.integration) if self.status else {}

    @property
    def version(self) -> int:
        """The version of the configuration; 0 where there is no file to change."""
        return self.stored.version if self.stored else 0


class Administration:
    """See above. `note` hears of every change of a status; everything else is for the route table."""

    def __init__(self, files: Files, rules: Rules, *, lifecycle: Lifecycle, live: Live, clock: Clock) -> None:
        self.rules = rules
        self._files = files
        self._lifecycle = lifecycle
        self._live = live
        self._clock = clock
        self._changing = asyncio.Lock()
        self._started_at = clock.now()
        self._since: dict[str, tuple[State, str, float]] = {}

    def note(self, statuses: Sequence[IntegrationStatus]) -> None:
        """Remember since when each integration is in its state, for that reason."""
        since = {}
        for status in statuses:
            known = self._since.get(status.integration.id)
            unchanged = known is not None and known[:2] == (status.state, status.reason)
            since[status.integration.id] = (
                known if known and unchanged else (status.state, status.reason, self._clock.now())
            )
        self._since = since

    # Looking

    async def all(self) -> list[View]:
        """Every integration that has a file or a status, by id."""
        return self._views(await self._files.read())

    async def get(self, integration_id: str) -> View:
        """One of them.

        Raises:
            Refused: 404.
        """
        return _find(await self.all(), integration_id)

    def _views(self, reading: Reading) -> list[View]:
        statuses = {each.integration.id: each for each in self._live.statuses()}
        problems = self._live.problems()
        deleting = self._lifecycle.deleting()
        return [
            View(
                integration_id,
                statuses.get(integration_id),
                stored := reading.files.get(integration_id),
                tuple(str(problem) for problem in problems if stored and problem.source == stored.file.path),
                integration_id in deleting,
                self._since[integration_id][2] if integration_id in self._since else self._started_at,
            )
            for integration_id in sorted(statuses.keys() | reading.files.keys())
        ]

    # Changing

    async def create(self, wanted: CreateIntegration) -> View:
        """Write the file of a new integration, which is disabled and without configuration.

        Raises:
            Refused: there are ten, the id is taken, something is wrong, or the file cannot be written.
        """
        async with self._changing:
            reading = await self._readable()
            if len(reading.files) >= MAX_INTEGRATIONS:
                message = f"There are already {MAX_INTEGRATIONS} integrations of this type, the most there may be."
                raise Refused(400, message, code="max.instances.reached")
            integration_id = self._new_id(wanted, reading)
            draft = Integration(integration_id, wanted.name, "", "", "", "", (), IntendedState.DISABLED)
            path = self._files.path(integration_id)
            text = env_file.render(draft)
            await self._check(integration_id, text, reading)
            await self._files.replace(path, None, text)
            await self._live.reload()
        return await self.get(integration_id)

    async def configure(self, integration_id: str, wanted: UpdateConfiguration) -> View:
        """Put another configuration in place of the one of that version.

        Raises:
            Refused: there is none, it has another version, something is wrong, or the file cannot be written.
        """
        async with self._changing:
            await self._change(integration_id, configuration_changes(wanted), version=wanted.version)
        return await self.get(integration_id)

    async def activate(self, integration_id: str) -> View:
        """Enable it; and where its file says so already but it does not run, as after a change of identity or when its
        event source is gone, ask for it by name.

        Raises:
            Refused: it cannot be activated as it is.
        """
        async with self._changing:
            await self._change(integration_id, {Key.INTENDED_STATE: IntendedState.ENABLED})
            view = await self.get(integration_id)
            if view.status and view.status.state in (State.INACTIVE, State.ERROR):
                await _asked(self._lifecycle.request_activation(integration_id))
        return await self.get(integration_id)

    async def deactivate(self, integration_id: str) -> View:
        """Pause it. Raises Refused."""
        async with self._changing:
            await self._change(integration_id, {Key.INTENDED_STATE: IntendedState.DISABLED})
        return await self.get(integration_id)

    async def delete(self, integration_id: str) -> View:
        """Delete it with its event source. The file goes once the request is durable; it alone remembers until then.

        Raises:
            Refused: there is none, or it cannot be deleted.
        """
        async with self._changing:
            view = await self.get(integration_id)
            path = self._files.path(integration_id)
            if view.stored:
                await self._files.check_writable(path)
            if view.status:
                await _asked(self._lifecycle.request_deletion(integration_id))
            if view.stored:
                await self._files.remove(path)
                await self._live.reload()
            after = next((each for each in await self.all() if each.id == integration_id), view)
        return msgspec.structs.replace(after, deleting=True)

    async def _readable(self) -> Reading:
        reading = await self._files.read()
        if reading.problem:
            raise Refused(409, f"{reading.problem}", code="integrations.unreadable")
        return reading

    async def _change(self, integration_id: str, changes: Mapping[str, str], *, version: int | None = None) -> None:
        reading = await self._readable()
        view = _find(self._views(reading), integration_id)
        stored = view.stored
        if view.deleting:
            raise Refused(409, f"The integration {integration_id} is being deleted.")
        if stored is None or stored.content is None or not stored.file.values:
            told = "; ".join(map(str, stored.file.problems)) if stored else f"{integration_id}.env is gone"
            raise Refused(409, f"{told}. Mend the file first; nothing was changed.", code="integration.file.unusable")
        if version is not None and version != stored.version:
            raise conflict(stored.path)
        text = await asyncio.to_thread(stored.changed, differences(stored.file.values, changes))
        await self._check(integration_id, text, reading)
        if text.encode() != stored.content:
            await self._files.replace(stored.path, stored.content, text)
        await self._live.reload()

    async def _check(self, integration_id: str, text: str, reading: Reading) -> None:
        """Hold the text to be written against everything that the reloader will hold it against."""
        path = str(self._files.path(integration_id))
        parsed = await asyncio.to_thread(env_file.parse, integration_id, path, text.encode(), self.rules)
        faults = [fault_of(problem) for problem in parsed.problems]
        candidate = parsed.integration
        if candidate and (holder := suffix_holder(candidate, self._others(reading))):
            hint = f"{holder.id} has it and is enabled"
            faults.append(Fault(SUFFIX_NOT_UNIQUE, FIELDS[Key.EVENT_SOURCE_SUFFIX], "suffix.not.unique", hint))
        if faults:
            raise Refused(400, faults=faults)

    def _others(self, reading: Reading) -> list[Integration]:
        """Every integration as its file says, or as it runs where that is wrong."""
        running = {each.integration.id: each.integration for each in self._live.statuses()}
        files = {integration_id: stored.file.integration for integration_id, stored in reading.files.items()}
        found = [file or running.get(integration_id) for integration_id, file in files.items()]
        return [each for each in found if each is not None]

    def _new_id(self, wanted: CreateIntegration, reading: Reading) -> str:
        taken = {_RESERVED, *reading.files, *(each.integration.id for each in self._live.statuses())}
        if wanted.id is None:
            # Never again one that was used: its counters and dead letters are still here.
            return free_id(wanted.name, taken.union(self._live.used_ids()))
        if not INTEGRATION_ID.fullmatch(wanted.id):
            hint = "it is 1 to 64 of A-Z, a-z, 0-9, '.', '-', '_', the first a letter or digit"
            raise Refused(400, faults=[Fault("Invalid id", "id", hint=hint)])
        if wanted.id in taken:
            raise Refused(409, f"There is an integration {wanted.id} already.")
        return wanted.id


def _find(views: Sequence[View], integration_id: str) -> View:
    for view in views:
        if view.id == integration_id:
            return view
    raise Refused(404, f"There is no integration {integration_id}.")


async def _asked(request: Awaitable[Any]) -> None:
    """Await a request to the reconciler, its refusals turned into the client's."""
    try:
        await request
    except RecordError as error:
        raise Refused(503, f"{error}") from None
    except ForwarderError as error:
        raise Refused(409, f"{error}") from None
