"""What an admin does over the API, and what becomes of the files, of the event sources and of the events."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.api.conftest import CRM, VIEWER, Rig

BASE = "/api/v2/integrations"
NEW = {"name": "Sales CRM", "integrationType": {"id": "amazon-eventbridge-source"}}
PROPERTIES = {
    "awsAccountId": "123456789012",
    "awsAccountRegion": "us-east-1",
    "eventSourceSuffix": "crm",
    "eventFilter": ["v2.users.{id}.presence"],
}
NOBODY = 65534


async def configuration(rig: Rig, id_: str, **changes: Any) -> dict[str, Any]:
    """The current configuration with other properties."""
    found: dict[str, Any] = await rig.get(f"{BASE}/{id_}/config/current")
    return {**found, "properties": {**found["properties"], **changes}}


async def put(rig: Rig, id_: str, **changes: Any) -> tuple[int, Any]:
    return await rig.ask("PUT", f"{BASE}/{id_}/config/current", await configuration(rig, id_, **changes))


async def intend(rig: Rig, id_: str, state: str) -> tuple[int, Any]:
    return await rig.ask("PATCH", f"{BASE}/{id_}", {"intendedState": state})


async def test_from_nothing_to_a_delivered_event_and_to_nothing_again(rig: Rig) -> None:
    status, created = await rig.ask("POST", BASE, NEW)
    assert (status, created["id"], created["intendedState"]) == (200, "sales-crm", "DISABLED")
    assert created["reportedState"]["code"] == "INACTIVE"
    assert (await put(rig, "sales-crm", **PROPERTIES))[0] == 200
    assert (await intend(rig, "sales-crm", "ENABLED"))[0] == 200
    active = await rig.state("sales-crm", "ACTIVE")
    assert active["attributes"] == {"eventSourceName": rig.source().event_source_name}
    assert rig.aws.sources == {rig.source()}
    await rig.publish("v2.users.7.presence", "v2.users.7.routingStatus")
    await rig.deliveries(1)

    status, deleted = await rig.ask("DELETE", f"{BASE}/sales-crm")
    assert (status, deleted["intendedState"], deleted["reportedState"]["code"]) == (200, "DELETED", "DEACTIVATING")
    assert list(rig.files.iterdir()) == []
    await rig.gone("sales-crm")
    assert rig.aws.sources == set()
    # The counters and dead letters of the old one are still there: the name is not used again by itself.
    assert (await rig.ask("POST", BASE, NEW))[1]["id"] == "sales-crm-2"


async def test_everything_wrong_is_told_at_once_at_its_field_and_nothing_is_written(rig: Rig) -> None:
    path = await rig.put_file("crm", CRM)
    body = await configuration(
        rig, "crm", awsAccountId="12", awsAccountRegion="us-easy-1", eventSourceSuffix="", eventFilter=["v2..x", "v2.#"]
    )
    status, error = await rig.ask("PUT", f"{BASE}/crm/config/current", {**body, "name": " "})
    assert status == error["status"] == 400
    assert {each["fieldName"] for each in error["details"]} == {
        "name",
        "properties.awsAccountId",
        "properties.awsAccountRegion",
        "properties.eventSourceSuffix",
        "properties.eventFilter",
    }
    messages = [each["message"] for each in error["errors"]]
    assert "Invalid AWS account ID" in messages
    assert "Invalid AWS Region" in messages
    assert error["message"] == "; ".join(messages)
    assert error.keys() == {"message", "code", "status", "messageParams", "contextId", "details", "errors"}
    assert path.read_text() == CRM


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name", "version", "properties"]),
        ({"name": 1, "version": "x", "properties": {"awsAccountId": 12, "no": 1}}, None),
        ({"name": "x", "version": None, "properties": []}, ["version", "properties"]),
        ({"name": "x", "version": 1, "properties": {}, "credentials": {"k": {}}, "advanced": {"a": 1}}, None),
    ],
)
async def test_a_body_of_the_wrong_shape(rig: Rig, body: Any, fields: list[str] | None) -> None:
    await rig.put_file("crm", CRM)
    status, error = await rig.ask("PUT", f"{BASE}/crm/config/current", body)
    found = [each["fieldName"] for each in error["details"]]
    assert (status, bool(found)) == (400, True)
    if fields:
        assert found == fields


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"a":"\\ud800"}'])
async def test_a_body_that_is_no_json_object(rig: Rig, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await rig.ask("POST", BASE, data=content, headers=headers))[0] == 400


async def test_comments_and_order_are_kept(rig: Rig) -> None:
    path = await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    assert (await put(rig, "crm", eventFilter=["v2.users.{id}.presence", "v2.#"]))[0] == 200
    assert path.read_text() == CRM.replace(
        "EVENT_FILTER=v2.users.{id}.presence", 'EVENT_FILTER="v2.users.{id}.presence, v2.#"'
    )
    assert (await intend(rig, "crm", "DISABLED"))[0] == 200
    assert "INTENDED_STATE=DISABLED   # since March\n" in path.read_text()


async def test_filters_change_without_deactivating(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    assert (await put(rig, "crm", eventFilter=["v2.queues.#"]))[0] == 200
    assert (await rig.get(f"{BASE}/crm"))["reportedState"]["code"] == "ACTIVE"
    await rig.publish("v2.queues.1.x", "v2.users.7.presence")
    await rig.deliveries(1)
    assert [each.notification.topic for _, each in rig.sink.delivered] == ["v2.queues.1.x"]


async def test_an_identity_change_deactivates_until_it_is_activated_anew(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    assert (await put(rig, "crm", awsAccountRegion="eu-central-1"))[0] == 200
    found = await rig.get(f"{BASE}/crm")
    assert found["reportedState"]["code"] == "INACTIVE"
    assert "AWS account region changed from us-east-1 to eu-central-1" in found["reportedState"]["detail"]["message"]
    assert rig.aws.sources == {rig.source()}
    assert (await intend(rig, "crm", "ENABLED"))[0] == 200
    await rig.state("crm", "ACTIVE")
    assert rig.aws.sources == {rig.source(region="eu-central-1")}


async def test_a_source_that_was_deleted_in_aws_is_made_anew(make_rig: Callable[..., Awaitable[Rig]]) -> None:
    rig = await make_rig(source_poll_seconds=1)
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    rig.aws.sources.clear()
    await rig.state("crm", "ERROR")
    assert (await intend(rig, "crm", "ENABLED"))[0] == 200
    await rig.state("crm", "ACTIVE")
    assert rig.aws.sources == {rig.source()}


async def test_a_version_that_is_not_current_is_refused(rig: Rig) -> None:
    path = await rig.put_file("crm", CRM)
    old = await configuration(rig, "crm", eventFilter=["v2.#"])
    edited = CRM.replace("Sales", "Marketing")
    path.write_text(edited)  # and the daemon has not looked yet
    status, error = await rig.ask("PUT", f"{BASE}/crm/config/current", old)
    assert (status, error["code"]) == (409, "version.conflict")
    assert path.read_text() == edited


async def test_of_changes_at_once_from_one_version_one_wins(rig: Rig) -> None:
    path = await rig.put_file("crm", CRM)
    bodies = [await configuration(rig, "crm", eventFilter=[f"v2.a{number}"]) for number in range(5)]
    answers = await asyncio.gather(*(rig.ask("PUT", f"{BASE}/crm/config/current", body) for body in bodies))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]
    winner = next(body for status, body in answers if status == 200)
    assert f"EVENT_FILTER={winner['properties']['eventFilter'][0]}\n" in path.read_text()


async def test_activation_does_not_change_the_version(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    before = await configuration(rig, "crm", eventFilter=["v2.#"])
    await intend(rig, "crm", "DISABLED")
    assert (await rig.ask("PUT", f"{BASE}/crm/config/current", before))[0] == 200


async def test_a_suffix_is_unique_among_the_enabled(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.ask("POST", BASE, {**NEW, "id": "other"})
    assert (await put(rig, "other", **PROPERTIES))[0] == 200  # disabled: it may
    status, error = await intend(rig, "other", "ENABLED")
    assert (status, error["message"]) == (400, "Event source suffix must be unique")
    assert error["details"][0]["fieldName"] == "properties.eventSourceSuffix"
    assert "crm" in error["details"][0]["message"]
    assert "INTENDED_STATE=DISABLED" in (rig.files / "other.env").read_text()
    await intend(rig, "crm", "DISABLED")
    assert (await intend(rig, "other", "ENABLED"))[0] == 200


async def test_a_draft_cannot_be_activated(rig: Rig) -> None:
    await rig.ask("POST", BASE, {**NEW, "id": "draft"})
    status, error = await intend(rig, "draft", "ENABLED")
    assert status == 400
    assert {each["fieldName"] for each in error["details"]} == {
        "properties.awsAccountId",
        "properties.awsAccountRegion",
        "properties.eventSourceSuffix",
    }


async def test_there_are_at_most_ten(rig: Rig) -> None:
    for number in range(10):
        assert (await rig.ask("POST", BASE, NEW))[0] == 200, number
    status, error = await rig.ask("POST", BASE, NEW)
    assert (status, error["code"]) == (400, "max.instances.reached")
    assert len(list(rig.files.iterdir())) == 10
    page = await rig.get(BASE, pageSize="4", pageNumber="3", sortBy="name")
    assert (len(page["entities"]), page["total"], page["pageCount"]) == (2, 10, 3)
    assert page["previousUri"] == f"{BASE}?pageSize=4&pageNumber=2&sortBy=name"
    assert "nextUri" not in page


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"integrationType": {"id": "other"}}, 400, "integrationType.id"),
        ({"integrationType": None}, 400, "integrationType"),
        ({"name": "x" * 257}, 400, "name"),
        ({"name": "\ud83d\ude00"}, 200, None),
        ({"id": "../../etc/passwd"}, 400, "id"),
        ({"id": "crm"}, 409, None),
        ({"id": "types"}, 409, None),
    ],
)
async def test_creating(rig: Rig, changes: dict[str, Any], status: int, field: str | None) -> None:
    await rig.put_file("crm", CRM)
    found, body = await rig.ask("POST", BASE, {**NEW, **changes})
    assert found == status
    if field:
        assert [each["fieldName"] for each in body["details"]] == [field]


async def test_listing_by_state_and_id(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.ask("POST", BASE, {**NEW, "id": "draft"})
    await rig.state("crm", "ACTIVE")

    async def listed(**query: str) -> list[str]:
        return [each["id"] for each in (await rig.get(BASE, **query))["entities"]]

    assert await listed() == ["crm", "draft"]
    assert await listed(reportedState="active") == ["crm"]
    assert await listed(ids="draft,none") == ["draft"]
    assert await listed(integrationType="other") == []
    assert await listed(pageNumber="9") == []
    status, error = await rig.ask("GET", BASE, params={"pageSize": "0", "pageNumber": "x"})
    assert (status, [each["fieldName"] for each in error["details"]]) == (400, ["pageSize", "pageNumber"])


async def test_a_file_that_is_wrong_is_shown_with_what_is_wrong_and_can_be_mended(rig: Rig) -> None:
    await rig.put_file("crm", CRM.replace("us-east-1", "moon-1"))
    found = await rig.get(f"{BASE}/crm")
    assert found["reportedState"]["code"] == "ERROR"
    assert "Invalid AWS Region" in found["reportedState"]["detail"]["message"]
    assert found["config"]["current"]["properties"]["awsAccountRegion"] == "moon-1"
    assert (await put(rig, "crm", awsAccountRegion="us-west-2"))[0] == 200
    await rig.state("crm", "ACTIVE")


async def test_a_running_integration_whose_file_becomes_wrong_says_so(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    await rig.put_file("crm", CRM + "NONSENSE=1\n")
    found = await rig.get(f"{BASE}/crm")
    assert found["reportedState"]["code"] == "ACTIVE"
    assert "unknown key" in found["reportedState"]["detail"]["message"]
    status, error = await put(rig, "crm", eventFilter=[])
    assert status == 400
    assert "NONSENSE: unknown key" in error["message"]


async def test_a_file_that_is_gone_cannot_be_changed_but_the_integration_deleted(rig: Rig) -> None:
    path = await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    path.unlink()
    await rig.reload()
    found = await rig.get(f"{BASE}/crm")
    assert (found["reportedState"]["code"], found["config"]["current"]["version"]) == ("INACTIVE", 0)
    assert found["config"]["current"]["properties"]["eventSourceSuffix"] == "crm"
    assert (await put(rig, "crm"))[0] == 409
    assert (await intend(rig, "crm", "ENABLED"))[0] == 409
    assert rig.aws.sources == {rig.source()}
    assert (await intend(rig, "crm", "DELETED"))[0] == 200
    await rig.gone("crm")
    assert rig.aws.sources == set()


async def test_a_file_that_never_worked_is_simply_removed(rig: Rig) -> None:
    path = await rig.put_file("bad", "nonsense")
    assert (await rig.ask("DELETE", f"{BASE}/bad"))[0] == 200
    assert not path.exists()
    await rig.gone("bad")


async def test_while_it_is_being_deleted_nothing_else_is_done_with_it(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    rig.aws.answers.clear()
    assert (await rig.ask("DELETE", f"{BASE}/crm"))[0] == 200
    found = await rig.get(f"{BASE}/crm")
    assert (found["intendedState"], found["reportedState"]["code"]) == ("DELETED", "DEACTIVATING")
    assert (await intend(rig, "crm", "ENABLED"))[0] == 409
    assert (await rig.ask("POST", BASE, {**NEW, "id": "crm"}))[0] == 409
    assert (await rig.ask("DELETE", f"{BASE}/crm"))[0] == 200  # asked twice is asked once
    rig.aws.answers.set()
    await rig.gone("crm")
    assert rig.aws.sources == set()


@pytest.mark.parametrize("id_", ["none", "..%2f..%2fetc", "a%00b", "%ff"])
async def test_what_is_not_there(rig: Rig, id_: str) -> None:
    for method, path, body in (
        ("GET", f"{BASE}/{id_}", None),
        ("PATCH", f"{BASE}/{id_}", {"intendedState": "DISABLED"}),
        ("DELETE", f"{BASE}/{id_}", None),
        ("GET", f"{BASE}/{id_}/config/current", None),
        ("PUT", f"{BASE}/{id_}/config/current", {"name": "x", "version": 1, "properties": {}}),
        ("GET", f"{BASE}/types/{id_}", None),
        ("GET", f"{BASE}/types/amazon-eventbridge-source/configschemas/{id_}", None),
    ):
        assert (await rig.ask(method, path, body))[0] == 404


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom file modes bind."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_read_only_directory_is_said_and_nothing_changes(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    for parent in (rig.files, *rig.files.parents[:3]):
        parent.chmod(0o755)
    rig.files.chmod(0o555)
    before = await configuration(rig, "crm", eventFilter=["v2.#"])
    with without_privileges():
        answers = [
            await rig.ask("POST", BASE, NEW),
            await rig.ask("PUT", f"{BASE}/crm/config/current", before),
            await intend(rig, "crm", "DISABLED"),
            await rig.ask("DELETE", f"{BASE}/crm"),
        ]
    rig.files.chmod(0o755)
    assert [(status, body["code"]) for status, body in answers] == [(409, "integrations.read.only")] * 4
    assert "nothing was changed" in answers[0][1]["message"]
    assert [(path.name, path.read_text()) for path in rig.files.iterdir()] == [("crm.env", CRM)]
    found = await rig.get(f"{BASE}/crm")
    assert (found["reportedState"]["code"], found["intendedState"]) == ("ACTIVE", "ENABLED")
    assert rig.aws.sources == {rig.source()}


async def test_every_change_is_audited_and_no_look(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    with capture_logs() as logged:
        await put(rig, "crm", eventFilter=["v2.#"])
        await intend(rig, "crm", "DISABLED")
        await rig.ask("DELETE", f"{BASE}/crm")
        await intend(rig, "other", "ENABLED")  # there is none
        await rig.ask("POST", BASE, NEW)
        await rig.get(BASE)
    audit = [each for each in logged if each["event"] == "audit"]
    assert [(each["who"], each["peer"], each["action"], each["integration"]) for each in audit] == [
        ("admin", "127.0.0.1", "configure", "crm"),
        ("admin", "127.0.0.1", "deactivate", "crm"),
        ("admin", "127.0.0.1", "delete", "crm"),
        ("admin", "127.0.0.1", "create", "sales-crm"),
    ]
    assert audit[0]["before"]["EVENT_FILTER"] == "v2.users.{id}.presence"
    assert audit[0]["after"]["EVENT_FILTER"] == "v2.#"


async def test_a_viewer_sees_everything_and_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    path = await rig.put_file("crm", CRM)
    assert (await rig.ask("GET", BASE, token=VIEWER))[0] == 200
    for method, where, body in (
        ("POST", BASE, NEW),
        ("PATCH", f"{BASE}/crm", {"intendedState": "DISABLED"}),
        ("DELETE", f"{BASE}/crm", None),
        ("PUT", f"{BASE}/crm/config/current", {}),
        ("POST", "/api/dead-letters/purge", {"all": True}),
    ):
        assert (await rig.ask(method, where, body, token=VIEWER))[0] == 403
        assert (await rig.ask(method, where, body, token=None))[0] == 401
    assert path.read_text() == CRM
