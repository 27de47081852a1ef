"""Integrations where no daemon can be asked: their files, and what the next start of the daemon has to know."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from forwarder.commands.integrations.model import OPTIONS, Edit, Listing, View
from forwarder.commands.output import log_to_stderr
from forwarder.errors import ConfigurationError, ForwarderError, Problem, SpoolUnusableError
from forwarder.integrations import env_file
from forwarder.integrations.configuration import Configuration, merge
from forwarder.integrations.directory import INTEGRATION_ID, SUFFIX, interpret, read_contents, write_atomically
from forwarder.model import Destination, Integration, IntendedState
from forwarder.record import LifecycleRecord, record_path
from forwarder.rules.lifecycle import Plan, Recorded, Standing, Wanted, activation_requested, deletion_requested, plan
from forwarder.rules.lifecycle_status import Observed, status
from forwarder.rules.validation import Key, Rules, event_source_name
from forwarder.settings import Settings
from forwarder.spool.database import StateLock


class IntegrationFiles:
    """The files of `settings.integrations_dir` and the lifecycle record beside the spool.

    The record belongs to a running daemon: whoever holds the state directory's lock. What changes it here is refused
    while one runs.
    """

    def __init__(self, settings: Settings, rules: Rules) -> None:
        log_to_stderr()
        self._directory = settings.integrations_dir
        self._state_dir = settings.state_dir
        self._record = LifecycleRecord(record_path(settings.state_dir, settings.sink))
        self._reactivate = settings.reactivate_on_identity_change
        self._rules = rules

    def listing(self) -> Listing:
        """See Integrations. The reason says where each stands for the next start."""
        configuration = merge(Configuration(), interpret(self._contents(), self._directory, self._rules))
        desired = {each.id: Wanted(each, self._destination(each)) for each in configuration.integrations.values()}
        plans = plan(desired, self._record.load(), reactivate=self._reactivate)
        views = [self._view(planned, has_file=id_ in desired) for id_, planned in plans.items()]
        return Listing(tuple(views), configuration.problems)

    def _view(self, planned: Plan, *, has_file: bool) -> View:
        integration = planned.recorded.integration
        destination = self._destination(integration)
        told = status(planned, Observed(), destination, has_file=has_file, hold_while_pending=False)
        return View(
            **msgspec.structs.asdict(integration),
            event_source_name=destination.event_source_name,
            state=None,
            reason=f"no daemon was asked; {'it runs once the daemon does' if told.takes_events else told.reason}",
        )

    def add(self, integration_id: str, edit: Edit) -> str:
        """See Integrations."""
        path, contents = self._path(integration_id), self._contents()
        if path.name in contents:
            raise ForwarderError(f"there is an integration {integration_id} already: {path}")
        draft = Integration(integration_id, env_file.DEFAULT_NAME, "", "", "", "", (), IntendedState.DISABLED)
        self._write(contents, integration_id, env_file.render(draft), edit.values(()))
        return f"{path} was written; `forwarder integrations activate {integration_id}` starts it"

    def change(self, integration_id: str, edit: Edit) -> str:
        """See Integrations."""
        contents, text, values = self._read(integration_id)
        self._write(contents, integration_id, text, edit.values(_filters(values)))
        return f"{self._path(integration_id)} was written"

    def activate(self, integration_id: str) -> str:
        """See Integrations."""
        contents, text, values = self._read(integration_id)
        path, was = self._path(integration_id), values.get(Key.INTENDED_STATE)
        self._write(contents, integration_id, text, {Key.INTENDED_STATE: IntendedState.ENABLED})
        try:
            known = self._request(integration_id, activation_requested)
        except SpoolUnusableError:
            if was == IntendedState.ENABLED:
                raise ForwarderError(
                    f"{path} says ENABLED already and a daemon is running; to activate anew, set FORWARDER_ADMIN_TOKEN"
                    f" for both, or run `forwarder integrations deactivate {integration_id}` first"
                ) from None
            return f"{path} says ENABLED; the running daemon follows"
        return (
            f"{path} says ENABLED; {'the request is recorded: ' if known else ''}the daemon's next start activates it"
        )

    def deactivate(self, integration_id: str) -> str:
        """See Integrations."""
        contents, text, _ = self._read(integration_id)
        self._write(contents, integration_id, text, {Key.INTENDED_STATE: IntendedState.DISABLED})
        return f"{self._path(integration_id)} says DISABLED; events pause, the event source in AWS stays"

    def delete(self, integration_id: str) -> str:
        """See Integrations."""
        path = self._path(integration_id)
        if path.name not in self._contents() and integration_id not in self._record.load():
            raise ForwarderError(f"there is no integration {integration_id}")
        try:
            # Before the file goes: the record is then all that remembers.
            recorded = self._request(integration_id, deletion_requested)
        except SpoolUnusableError:
            raise ForwarderError(
                "a daemon is running, and only it can delete an event source: set FORWARDER_ADMIN_TOKEN for both"
            ) from None
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ForwarderError(f"{path} cannot be removed: {error.strerror}; the deletion is recorded") from None
        if recorded is None:
            return f"{path} was removed; it had never run, so there is nothing in AWS to delete"
        if recorded.source is None:
            return f"{path} was removed; the daemon's next start turns what is pending for it into dead letters"
        source = (
            f"{recorded.source.event_source_name} in account {recorded.source.account_id}, {recorded.source.region}"
        )
        return f"{path} was removed; the daemon's next start deletes {source}, which exists until then"

    def _request(self, integration_id: str, request: Callable[[Recorded], Recorded]) -> Recorded | None:
        """Put a request into the record for the daemon's next start. None: it knows nothing of the integration.

        Raises:
            SpoolUnusableError: a daemon is running; the record is its.
            ForwarderError: the integration is being deleted already, or the record cannot be written.
        """
        if not self._state_dir.exists():
            return None
        lock = StateLock(self._state_dir)
        try:
            records = self._record.load()
            recorded = records.get(integration_id)
            if recorded is None:
                return None
            if recorded.standing is Standing.DELETING and request is activation_requested:
                raise ForwarderError(f"the integration {integration_id} is being deleted")
            asyncio.run(self._record.save({**records, integration_id: request(recorded)}))
            return recorded
        finally:
            lock.release()

    def _contents(self) -> dict[str, bytes | Problem]:
        contents = read_contents(self._directory)
        if isinstance(contents, Problem):
            raise ConfigurationError([contents])
        return dict(contents)

    def _read(self, integration_id: str) -> tuple[dict[str, bytes | Problem], str, dict[str, str]]:
        """All files, the text of this one, and what it says, right or wrong."""
        contents = self._contents()
        content = contents.get(self._path(integration_id).name)
        if content is None:
            known = ", ".join(name.removesuffix(SUFFIX) for name in contents) or "none"
            raise ForwarderError(f"there is no integration {integration_id}; there are: {known}")
        if isinstance(content, Problem):
            raise ConfigurationError([content])
        name = self._path(integration_id).name
        file = interpret({name: content}, self._directory, self._rules).files[integration_id]
        if not file.values:
            raise ConfigurationError(list(file.problems))
        return contents, content.decode(), file.values

    def _write(
        self,
        contents: Mapping[str, bytes | Problem],
        integration_id: str,
        text: str,
        changes: Mapping[Key, str | tuple[str, ...]],
    ) -> None:
        """Write the text with its changes, if the integration is then right by itself and among the others."""
        path = self._path(integration_id)
        values = {str(key): value if isinstance(value, str) else ", ".join(value) for key, value in changes.items()}
        new = env_file.update(text, values)
        before = merge(Configuration(), interpret(contents, self._directory, self._rules))
        state = interpret({**contents, path.name: new.encode()}, self._directory, self._rules)
        own = [problem for problem in merge(before, state).problems if problem.source == str(path)]
        if own:
            raise ConfigurationError([_as_option(problem, changes) for problem in own])
        if self._contents().get(path.name) != contents.get(path.name):
            raise ForwarderError(
                f"{path} was changed meanwhile by somebody else; nothing was written, look and try again"
            )
        try:
            write_atomically(path, new)
        except OSError as error:
            raise ForwarderError(f"{path} cannot be written: {error.strerror}") from None

    def _path(self, integration_id: str) -> Path:
        if not INTEGRATION_ID.fullmatch(integration_id):
            hint = "it is 1 to 64 of A-Z, a-z, 0-9, '.', '-', '_', the first a letter or digit"
            raise ConfigurationError([Problem(f"{integration_id!r} cannot be an integration's id", hint=hint)])
        return self._directory / f"{integration_id}{SUFFIX}"

    def _destination(self, integration: Integration) -> Destination:
        name = event_source_name(
            self._rules.event_source_prefix, self._rules.organization_id, integration.event_source_suffix
        )
        return Destination(integration.account_id, integration.region, name)


def _filters(values: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return env_file.parse_filter_list(values.get(Key.EVENT_FILTER, ""))
    except ValueError:
        return ()  # what is wrong with it is said when the whole is validated


def _as_option(problem: Problem, changes: Mapping[Key, object]) -> Problem:
    """Name the option where the mistake was given by one: the file that has it is never written."""
    key = next((key for key in changes if key == problem.key), None)
    if key not in OPTIONS:
        return problem
    return Problem(problem.message, key=OPTIONS[key], hint=problem.hint)
