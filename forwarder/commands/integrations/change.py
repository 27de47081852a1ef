"""What every change of an integration has in common: where it is made, the question before, the answer after."""

import time
from pathlib import Path

import typer

from forwarder.commands.configuration import env_file_to_use
from forwarder.commands.daemon import Daemon
from forwarder.commands.integrations.api import IntegrationsApi
from forwarder.commands.integrations.files import IntegrationFiles
from forwarder.commands.integrations.model import OPTIONS, Edit, Integrations, View
from forwarder.commands.output import confirm, print_json
from forwarder.errors import ConfigurationError, ForwarderError, Problem
from forwarder.integrations.regions import eventbridge_regions
from forwarder.model import IntendedState, State
from forwarder.rules.validation import Rules
from forwarder.settings import Settings

SETTLE_SECONDS = 15.0
"""How long to watch what becomes of an integration."""
LOOK_SECONDS = 0.1


def choose(env_file: Path | None, url: str | None, *, changing: bool) -> Integrations:
    """The running daemon where one answers, and, for changes, there is a token to ask it with; else the files.

    Raises:
        ForwarderError: a URL was given and nothing answers there.
        ConfigurationError: the settings cannot be read.
    """
    daemon = Daemon.configured(env_file, url)
    if url is not None or (daemon.answers() and (daemon.may_change or not changing)):
        return IntegrationsApi(daemon)
    settings = Settings.load(env_file_to_use(env_file))
    return IntegrationFiles(
        settings, Rules(eventbridge_regions(), settings.event_source_prefix, settings.organization_id)
    )


class Changes:
    """One command that changes an integration. `yes` leaves out the question."""

    def __init__(self, env_file: Path | None, url: str | None, *, yes: bool, as_json: bool) -> None:
        self._integrations = choose(env_file, url, changing=True)
        self._yes = yes
        self._as_json = as_json

    def add(self, integration_id: str, edit: Edit, *, activate: bool) -> None:
        """Add it, and activate it if that was asked for."""
        if activate:
            confirm(f"Create the event source of {integration_id} in AWS and start sending?", yes=self._yes)
        told = self._integrations.add(integration_id, edit)
        if activate:
            told = self._integrations.activate(integration_id)
            return self._settled(integration_id, told, State.ACTIVE)
        return self._tell(integration_id, told)

    def change(self, integration_id: str, edit: Edit) -> None:
        """Change it; a change of identity takes it out of action and is asked about."""
        if edit == Edit():
            raise ConfigurationError([Problem("nothing to change", hint=f"give one of {', '.join(OPTIONS.values())}")])
        now = self._find(integration_id)  # None: its file is wrong, and this may mend it
        if now is not None and edit.moves(now) and now.intended_state is IntendedState.ENABLED:
            confirm(f"This deactivates {integration_id} until it is activated again. Go on?", yes=self._yes)
        self._tell(integration_id, self._integrations.change(integration_id, edit))

    def activate(self, integration_id: str) -> None:
        """Activate it and tell how that went."""
        now = self._integrations.listing().find(integration_id)
        target = f"{now.event_source_name.rpartition('/')[0]}/{now.event_source_suffix}"
        where = f"{target} in account {now.account_id}, {now.region}"
        confirm(f"Activate {integration_id}? Its events go to {where}.", yes=self._yes)
        self._settled(integration_id, self._integrations.activate(integration_id), State.ACTIVE)

    def deactivate(self, integration_id: str) -> None:
        """Deactivate it and tell how that went."""
        confirm(f"Deactivate {integration_id}? Its events pause; the event source stays.", yes=self._yes)
        self._settled(integration_id, self._integrations.deactivate(integration_id), State.INACTIVE)

    def delete(self, integration_id: str) -> None:
        """Delete it and tell how that went.

        Raises:
            ForwarderError: it cannot be deleted in AWS now; the daemon goes on trying.
        """
        question = f"Delete {integration_id} with its event source in AWS, and turn what is pending into dead letters?"
        confirm(question, yes=self._yes)
        told = self._integrations.delete(integration_id)
        view = self._watch(integration_id, None)
        if view is not None and view.state is not None:
            raise ForwarderError(f"{integration_id} is not deleted yet: {view.reason}")
        if self._as_json:
            print_json({"id": integration_id, "message": told, "integration": None})
        else:
            typer.echo(told)

    def _settled(self, integration_id: str, told: str, wanted: str) -> None:
        """Watch until it is as wanted, or in trouble; then tell.

        Raises:
            ForwarderError: it is in trouble.
        """
        view = self._watch(integration_id, wanted)
        self._tell(integration_id, told)
        if view is not None and view.state == State.ERROR:
            raise ForwarderError(f"{integration_id} is in ERROR: {view.reason}")

    def _watch(self, integration_id: str, wanted: str | None) -> View | None:
        """Look until it is in that state, gone, in trouble, or it takes too long. No daemon says nothing at once."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            view = self._find(integration_id)
            if view is None or view.state in (None, wanted, State.ERROR) or time.monotonic() > deadline:
                return view
            time.sleep(LOOK_SECONDS)

    def _tell(self, integration_id: str, told: str) -> None:
        view = self._find(integration_id)
        if self._as_json:
            print_json({"id": integration_id, "message": told, "integration": view})
            return
        typer.echo(told)
        if view is not None and view.state is not None:
            typer.echo(f"{integration_id} is {view.state}: {view.reason}")

    def _find(self, integration_id: str) -> View | None:
        listing = self._integrations.listing()
        return next((view for view in listing.integrations if view.id == integration_id), None)
