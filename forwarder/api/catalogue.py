"""The route table of what never changes: integration types, their schemas, and the known topics."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from forwarder.api import representation
from forwarder.api.models import (
    TYPE_ID,
    AvailableTopic,
    IntegrationType,
    IntegrationTypeListing,
    PageQuery,
    TopicListing,
)
from forwarder.api.operation import Operation, json
from forwarder.api.reading import read_query
from forwarder.integrations.env_file import DEFAULT_NAME
from forwarder.ops.refusals import Refused
from forwarder.rules.topic_filter import PARAMETER
from forwarder.rules.validation import MAX_INTEGRATIONS

TYPES = representation.BASE + "/types"
_TYPE = IntegrationType(
    id=TYPE_ID,
    name=DEFAULT_NAME,
    description="Sends an organization's notifications to an Amazon EventBridge partner event source.",
    provider="forwarder",
    category="Event delivery",
    images=[],
    config_properties_schema_uri=f"{TYPES}/{TYPE_ID}/configschemas/properties",
    config_advanced_schema_uri=f"{TYPES}/{TYPE_ID}/configschemas/advanced",
    help_links=[],
    credentials={},
    non_installable=False,
    max_instances=MAX_INTEGRATIONS,
    user_permissions=[f"integrations:integration:{verb}" for verb in ("view", "add", "edit", "delete")],
    self_uri=f"{TYPES}/{TYPE_ID}",
)


def config_schemas(regions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The JSON schemas of a configuration's two parts, by the name of the part."""
    properties = {
        "awsAccountId": {"type": "string", "title": "AWS account ID", "pattern": "^[0-9]{12}$"},
        "awsAccountRegion": {"type": "string", "title": "AWS account region", "enum": sorted(regions)},
        "eventSourceSuffix": {
            "type": "string",
            "title": "Event source suffix",
            "description": "Ends the event source's name; unique among active integrations.",
            "pattern": "^[A-Za-z0-9._-]{1,64}$",
        },
        "eventFilter": {
            "type": "array",
            "title": "Topic filtering",
            "description": "The topics to send. With none, no event is sent.",
            "items": {"type": "string"},
            "uniqueItems": True,
        },
    }
    required = ["awsAccountId", "awsAccountRegion", "eventSourceSuffix"]
    return {"properties": _schema("properties", properties, required), "advanced": _schema("advanced", {}, [])}


def operations(regions: Iterable[str], templates: Iterable[str]) -> list[Operation]:
    """The table."""
    schemas = config_schemas(regions)
    topics = json_topics(templates)

    async def list_types(request: web.Request) -> web.Response:
        query = read_query(PageQuery, request.query)
        return json(IntegrationTypeListing(**representation.page([_TYPE], query, TYPES, request.query)))

    async def get_type(request: web.Request) -> web.Response:
        _check_type(request)
        return json(_TYPE)

    async def get_schema(request: web.Request) -> web.Response:
        _check_type(request)
        schema = schemas.get(request.match_info["configType"])
        if schema is None:
            raise Refused(404, f"There are the config types {' and '.join(schemas)}.")
        return json(schema)

    async def list_topics(_request: web.Request) -> web.Response:
        return json(topics)

    one = TYPES + "/{typeId}"
    return [
        Operation(
            "GET",
            TYPES,
            "getIntegrationsTypes",
            "List integration types",
            list_types,
            IntegrationTypeListing,
            PageQuery,
        ),
        Operation(
            "GET", one, "getIntegrationsType", "Get an integration type", get_type, IntegrationType, refusals=(404,)
        ),
        Operation(
            "GET",
            one + "/configschemas/{configType}",
            "getIntegrationsTypeConfigschema",
            "Get the JSON schema of a part of the configuration",
            get_schema,
            dict[str, Any],
            refusals=(404,),
        ),
        Operation(
            "GET",
            "/api/v2/notifications/availabletopics",
            "getNotificationsAvailabletopics",
            "List the known topics",
            list_topics,
            TopicListing,
        ),
    ]


def json_topics(templates: Iterable[str]) -> TopicListing:
    """The templates as the API lists topics."""
    return TopicListing([_topic(template) for template in templates])


def _topic(template: str) -> AvailableTopic:
    parameters = ["id"] * template.split(".").count(PARAMETER)
    return AvailableTopic(template, "", "Public", ["EventBridge"], parameters)


def _schema(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "id": f"{TYPE_ID}/{name}",
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": DEFAULT_NAME,
        "description": f"The {name} of an integration of the type {TYPE_ID}.",
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _check_type(request: web.Request) -> None:
    if request.match_info["typeId"] != TYPE_ID:
        raise Refused(404, f"There is one integration type: {TYPE_ID}.")
