"""The reference's own public SDK for Python, unchanged, with its host set to the daemon."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import PureCloudPlatformClientV2 as sdk  # noqa: N813  (the module is named like a class)
import pytest

from tests.integration.api.conftest import ADMIN, CRM, VIEWER, Rig

TYPE = "amazon-eventbridge-source"
PROPERTIES = {
    "awsAccountId": "123456789012",
    "awsAccountRegion": "us-east-1",
    "eventSourceSuffix": "crm",
    "eventFilter": ["v2.users.{id}.presence"],
}


def client(rig: Rig, token: str = ADMIN) -> Any:
    made = sdk.api_client.ApiClient(rig.url)
    made.access_token = token
    return made


async def call(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The SDK waits for its answers."""
    return await asyncio.to_thread(method, *arguments, **named)


async def refused(method: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, Any]:
    with pytest.raises(sdk.rest.ApiException) as caught:
        await call(method, *arguments, **named)
    return caught.value.status, sdk.rest.json.loads(caught.value.body)


def new(name: str) -> Any:
    request = sdk.CreateIntegrationRequest()
    request.name = name
    request.integration_type = sdk.IntegrationType()
    request.integration_type.id = TYPE
    return request


def intended(state: str) -> Any:
    body = sdk.Integration()
    body.intended_state = state
    return body


async def test_the_whole_life(rig: Rig) -> None:
    api = sdk.IntegrationsApi(client(rig))
    created = await call(api.post_integrations, body=new("Sales CRM"))
    assert (created.id, created.name, created.intended_state) == ("sales-crm", "Sales CRM", "DISABLED")
    assert created.integration_type.id == TYPE

    config = await call(api.get_integration_config_current, created.id)
    config.properties, config.notes = PROPERTIES, "for\nsales"
    saved = await call(api.put_integration_config_current, created.id, body=config)
    assert (saved.properties, saved.notes) == (PROPERTIES, "for\nsales")
    assert saved.version != config.version
    assert (await refused(api.put_integration_config_current, created.id, body=config))[0] == 409

    await call(api.patch_integration, created.id, body=intended("ENABLED"))
    await rig.state(created.id, "ACTIVE")
    active = await call(api.get_integration, created.id)
    assert (active.reported_state.code, active.reported_state.effective) == ("ACTIVE", "Active")
    assert isinstance(active.reported_state.last_updated, datetime)
    assert active.reported_state.detail.message
    assert active.config.current.version == saved.version

    # What was got may be sent back with a change, as a whole.
    active.intended_state = "DISABLED"
    paused = await call(api.patch_integration, created.id, body=active)
    assert (paused.intended_state, paused.reported_state.code) == ("DISABLED", "INACTIVE")

    listing = await call(api.get_integrations, page_size=10, ids=[created.id], expand=["config.current"])
    assert [each.id for each in listing.entities] == [created.id]
    assert (listing.total, listing.page_size, listing.page_number, listing.page_count) == (1, 10, 1, 1)

    deleted = await call(api.delete_integration, created.id)
    assert deleted.intended_state == "DELETED"
    await rig.gone(created.id)
    assert (await refused(api.get_integration, created.id))[0] == 404


async def test_errors_parse_as_the_sdks_own_model(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    api = sdk.IntegrationsApi(client(rig))
    config = await call(api.get_integration_config_current, "crm")
    config.properties = {**PROPERTIES, "awsAccountId": "12", "awsAccountRegion": "moon"}
    status, raw = await refused(api.put_integration_config_current, "crm", body=config)
    error = client(rig)._ApiClient__deserialize(raw, "ErrorBody")
    assert status == error.status == 400
    assert [each.message for each in error.errors] == ["Invalid AWS account ID", "Invalid AWS Region"]
    assert [each.field_name for each in error.details] == ["properties.awsAccountId", "properties.awsAccountRegion"]
    assert error.context_id


async def test_types_schemas_and_topics(rig: Rig) -> None:
    made = client(rig, VIEWER)
    api = sdk.IntegrationsApi(made)
    types = await call(api.get_integrations_types)
    assert [(each.id, each.max_instances) for each in types.entities] == [(TYPE, 10)]
    found = await call(api.get_integrations_type, TYPE)
    assert "integrations:integration:edit" in found.user_permissions
    schema = await call(api.get_integrations_type_configschema, TYPE, "properties")
    assert set(schema.properties) == set(PROPERTIES)
    assert {"us-east-1", "cn-north-1"} <= set(schema.properties["awsAccountRegion"]["enum"])
    assert (await call(api.get_integrations_type_configschema, TYPE, "advanced")).properties == {}
    topics = await call(sdk.NotificationsApi(made).get_notifications_availabletopics, expand=["description"])
    audit = next(each for each in topics.entities if each.id == "v2.audits.entitytype.{id}.entityid.{id}")
    assert (len(topics.entities), audit.topic_parameters) == (237, ["id", "id"])


@pytest.mark.parametrize(("token", "status"), [(VIEWER, 403), ("wrong", 401)])
async def test_tokens(rig: Rig, token: str, status: int) -> None:
    assert (await refused(sdk.IntegrationsApi(client(rig, token)).post_integrations, body=new("x")))[0] == status
