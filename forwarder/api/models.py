"""What travels over `/api/v2`, in the names of Genesys Cloud's public API, of which this is a part."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from forwarder.integrations.env_file import DEFAULT_NAME

TYPE_ID = "amazon-eventbridge-source"

PageSize = Annotated[int, msgspec.Meta(ge=1, le=500)]
PageNumber = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class TypeReference(msgspec.Struct, frozen=True, rename="camel"):
    """The kind of an integration."""

    id: str


class Properties(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The configuration proper. While the integration is disabled all of it may be missing."""

    aws_account_id: str = ""
    aws_account_region: str = ""
    event_source_suffix: str = ""
    event_filter: list[str] = []


class CreateIntegration(msgspec.Struct, frozen=True, rename="camel"):
    """A new integration, disabled and without configuration. `id` names its file; by default it follows the name."""

    integration_type: TypeReference
    name: str = DEFAULT_NAME
    id: str | None = None


class UpdateIntegration(msgspec.Struct, frozen=True, rename="camel"):
    """What an admin wants of an integration. Other fields are not looked at: they are changed by its configuration."""

    intended_state: Literal["ENABLED", "DISABLED", "DELETED"]


class UpdateConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    """A configuration in place of the one of that version. Without `notes` these stay as they are."""

    name: str
    version: int
    properties: Properties
    notes: str | None = None
    advanced: dict[str, Any] = {}
    credentials: dict[str, Any] = {}


class Configuration(msgspec.Struct, frozen=True, rename="camel"):
    """The configuration as the file has it, right or wrong. The version changes with whatever is in the file, whoever
    changed it; only INTENDED_STATE does not count."""

    id: str
    name: str
    version: int
    properties: Properties
    notes: str
    self_uri: str
    advanced: dict[str, Any] = {}
    credentials: dict[str, Any] = {}


class CurrentConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    """Where an integration carries its configuration."""

    current: Configuration


class MessageInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A sentence for people."""

    localizable_message_code: str
    message: str
    message_with_params: str
    message_params: dict[str, str]


class StatusInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What an integration is doing, why, and since when."""

    code: Literal["ACTIVE", "ACTIVATING", "INACTIVE", "DEACTIVATING", "ERROR"]
    effective: str
    detail: MessageInfo
    last_updated: datetime


class Integration(msgspec.Struct, frozen=True, rename="camel"):
    """An integration."""

    id: str
    name: str
    integration_type: TypeReference
    notes: str
    intended_state: Literal["ENABLED", "DISABLED", "DELETED"]
    config: CurrentConfiguration
    reported_state: StatusInfo
    attributes: dict[str, str]
    self_uri: str


class Page(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where a page is in its listing."""

    page_size: int
    page_number: int
    total: int
    page_count: int
    self_uri: str
    first_uri: str
    last_uri: str
    next_uri: str | None = None
    previous_uri: str | None = None


class IntegrationListing(Page, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A page of integrations."""

    entities: list[Integration]


class IntegrationType(msgspec.Struct, frozen=True, rename="camel"):
    """A kind of integration. There is one."""

    id: str
    name: str
    description: str
    provider: str
    category: str
    images: list[Any]
    config_properties_schema_uri: str
    config_advanced_schema_uri: str
    help_links: list[Any]
    credentials: dict[str, Any]
    non_installable: bool
    max_instances: int
    user_permissions: list[str]
    self_uri: str


class IntegrationTypeListing(Page, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A page of integration types."""

    entities: list[IntegrationType]


class AvailableTopic(msgspec.Struct, frozen=True, rename="camel"):
    """A topic that is known; others work as well."""

    id: str
    description: str
    visibility: str
    transports: list[str]
    topic_parameters: list[str]


class TopicListing(msgspec.Struct, frozen=True, rename="camel"):
    """All known topics."""

    entities: list[AvailableTopic]


class PageQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which page."""

    page_size: PageSize = 25
    page_number: PageNumber = 1


class IntegrationQuery(PageQuery, frozen=True, rename="camel"):
    """Which page of which integrations; `ids` are separated by commas."""

    sort_by: Literal["id", "name"] = "id"
    ids: list[str] | None = None
    integration_type: str | None = None
    reported_state: str | None = None
