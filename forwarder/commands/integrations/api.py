"""Integrations through the running daemon's API."""

from typing import Any
from urllib.parse import quote

import msgspec

from forwarder.commands.daemon import Daemon, RefusedError
from forwarder.commands.integrations.model import OPTIONS, Edit, Listing, View
from forwarder.errors import ConfigurationError, ForwarderError, Problem
from forwarder.rules.validation import Key

_ROOT = "/api/v2/integrations"
_TYPE = {"id": "amazon-eventbridge-source"}
_PROPERTIES = {
    Key.AWS_ACCOUNT_ID: "awsAccountId",
    Key.AWS_ACCOUNT_REGION: "awsAccountRegion",
    Key.EVENT_SOURCE_SUFFIX: "eventSourceSuffix",
    Key.EVENT_FILTER: "eventFilter",
}
_FIELDS = {"name": Key.NAME, "notes": Key.NOTES, **{f"properties.{name}": key for key, name in _PROPERTIES.items()}}


class IntegrationsApi:
    """The integrations of the daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def listing(self) -> Listing:
        """See Integrations."""
        status = self._daemon.get("/api/status")
        views = msgspec.convert(status["integrations"], tuple[View, ...])
        return Listing(views, msgspec.convert(status["reload"]["problems"], tuple[Problem, ...]))

    def add(self, integration_id: str, edit: Edit) -> str:
        """See Integrations. One whose configuration is refused is taken back."""
        self._change("POST", "", {"id": integration_id, "name": edit.name, "integrationType": _TYPE})
        try:
            self._configure(integration_id, edit)
        except ForwarderError as error:
            self._take_back(integration_id, error)
            raise
        return f"{integration_id} was added; `forwarder integrations activate {integration_id}` starts it"

    def change(self, integration_id: str, edit: Edit) -> str:
        """See Integrations."""
        self._configure(integration_id, edit)
        return f"{integration_id} was changed"

    def activate(self, integration_id: str) -> str:
        """See Integrations."""
        self._change("PATCH", f"/{quote(integration_id, safe='')}", {"intendedState": "ENABLED"})
        return f"{integration_id} was activated"

    def deactivate(self, integration_id: str) -> str:
        """See Integrations."""
        self._change("PATCH", f"/{quote(integration_id, safe='')}", {"intendedState": "DISABLED"})
        return f"{integration_id} was deactivated; its event source in AWS stays"

    def delete(self, integration_id: str) -> str:
        """See Integrations."""
        self._change("DELETE", f"/{quote(integration_id, safe='')}")
        return f"{integration_id} was deleted, with its event source in AWS"

    def _take_back(self, integration_id: str, why: ForwarderError) -> None:
        try:
            self.delete(integration_id)
        except ForwarderError as error:
            raise ForwarderError(
                f"{why}; {integration_id} was added without its configuration and cannot be taken back: {error}"
            ) from None

    def _configure(self, integration_id: str, edit: Edit) -> None:
        """Change the configuration, unless somebody else has done so since it was read."""
        path = f"/{quote(integration_id, safe='')}/config/current"
        now = self._daemon.get(_ROOT + path)
        changes = edit.values(now["properties"]["eventFilter"])
        body = {
            "name": changes.get(Key.NAME, now["name"]),
            "notes": changes.get(Key.NOTES, now["notes"]),
            "version": now["version"],
            "properties": {name: changes.get(key, now["properties"].get(name)) for key, name in _PROPERTIES.items()},
        }
        self._change("PUT", path, body)

    def _change(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            return self._daemon.change(method, _ROOT + path, body)
        except RefusedError as error:
            problems = [_problem(detail) for detail in error.body.get("details") or ()]
            if error.status == 400 and problems:
                raise ConfigurationError(problems) from None
            raise


def _problem(detail: dict[str, Any]) -> Problem:
    """What is wrong with a field, at the option that it was given by."""
    field = detail.get("fieldName")
    key = _FIELDS.get(field or "")
    return Problem(str(detail.get("message")), key=OPTIONS[key] if key else field)
