"""Integrations through the API: what becomes of the daemon's refusals."""

from typing import Any

import pytest

from forwarder.commands.daemon import Daemon, RefusedError
from forwarder.commands.integrations.api import IntegrationsApi
from forwarder.commands.integrations.model import Edit
from forwarder.errors import ConfigurationError, ForwarderError

CURRENT = {
    "name": "CRM",
    "notes": "old",
    "version": 7,
    "properties": {"awsAccountId": "1", "awsAccountRegion": "x", "eventSourceSuffix": "crm", "eventFilter": ["a.b"]},
}


class Scripted(Daemon):
    """Answers every reading with the configuration, and every change as it was told."""

    def __init__(self, **refusals: tuple[int, dict[str, Any]]) -> None:
        super().__init__("http://daemon", viewer_token=None, admin_token="t")
        self.asked: list[tuple[str, str, Any]] = []
        self._refusals = refusals

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return CURRENT

    def change(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        self.asked.append((method, path, body))
        if method in self._refusals:
            raise RefusedError(self.base, *self._refusals[method])
        return {}


def test_a_change_names_the_version_that_it_is_made_to_and_keeps_the_rest() -> None:
    daemon = Scripted()
    IntegrationsApi(daemon).change("c/m", Edit(region="us-east-1", add_filters=("c.d",)))
    ((method, path, body),) = daemon.asked
    assert (method, path) == ("PUT", "/api/v2/integrations/c%2Fm/config/current")
    assert body == CURRENT | {
        "properties": CURRENT["properties"] | {"awsAccountRegion": "us-east-1", "eventFilter": ("a.b", "c.d")}  # type: ignore[operator]  # a dict
    }


def test_a_conflict_is_told_in_the_daemon_s_words() -> None:
    daemon = Scripted(PUT=(409, {"message": "crm.env was changed since that version was read.", "details": []}))
    with pytest.raises(RefusedError, match="was changed since") as caught:
        IntegrationsApi(daemon).change("crm", Edit(name="x"))
    assert not isinstance(caught.value, ConfigurationError)


def test_mistakes_are_told_at_their_options() -> None:
    details = [
        {"fieldName": "properties.awsAccountRegion", "message": "Invalid AWS Region"},
        {"fieldName": "id", "message": "Invalid id"},
        {"fieldName": None, "message": "something"},
    ]
    with pytest.raises(ConfigurationError) as caught:
        IntegrationsApi(Scripted(PUT=(400, {"details": details}))).change("crm", Edit(region="y"))
    assert [problem.key for problem in caught.value.problems] == ["--region", "id", None]


def test_an_addition_that_is_refused_is_taken_back() -> None:
    daemon = Scripted(PUT=(400, {"details": [{"fieldName": "name", "message": "the name is empty"}]}))
    with pytest.raises(ConfigurationError, match="the name is empty"):
        IntegrationsApi(daemon).add("crm", Edit(name=""))
    assert [(method, path) for method, path, _ in daemon.asked] == [
        ("POST", "/api/v2/integrations"),
        ("PUT", "/api/v2/integrations/crm/config/current"),
        ("DELETE", "/api/v2/integrations/crm"),
    ]


def test_no_error_hides_another() -> None:
    daemon = Scripted(PUT=(409, {"message": "the first"}), DELETE=(503, {"message": "the second"}))
    with pytest.raises(ForwarderError, match=r"the first.*cannot be taken back.*the second"):
        IntegrationsApi(daemon).add("crm", Edit())
