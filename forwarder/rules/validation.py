"""What makes an integration valid. The wording of the first three errors is the reference's own."""

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from enum import StrEnum

import msgspec

from forwarder.errors import Problem
from forwarder.model import Integration, IntendedState
from forwarder.rules.topic_filter import TopicFilterError, parse_topic_filter

INVALID_ACCOUNT = "Invalid AWS account ID"
INVALID_REGION = "Invalid AWS Region"
SUFFIX_NOT_UNIQUE = "Event source suffix must be unique"

MAX_INTEGRATIONS = 10
MAX_NAME_CHARACTERS = 256
MAX_NOTES_CHARACTERS = 4096
MAX_SOURCE_CHARACTERS = 256  # EventBridge API reference, PutPartnerEventsRequestEntry.Source

_ACCOUNT = re.compile(r"[0-9]{12}")
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SOURCE_NAME = re.compile(r"aws\.partner(/[._A-Za-z0-9-]+){2,}")  # EventBridge API reference, EventSourceName
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Key(StrEnum):
    """The keys of an integration's file, in the order in which they are written."""

    NAME = "NAME"
    NOTES = "NOTES"
    AWS_ACCOUNT_ID = "AWS_ACCOUNT_ID"
    AWS_ACCOUNT_REGION = "AWS_ACCOUNT_REGION"
    EVENT_SOURCE_SUFFIX = "EVENT_SOURCE_SUFFIX"
    EVENT_FILTER = "EVENT_FILTER"
    INTENDED_STATE = "INTENDED_STATE"


class Rules(msgspec.Struct, frozen=True):
    """What an integration is held against besides itself: EventBridge's regions, and what starts every source name."""

    regions: frozenset[str]
    event_source_prefix: str
    organization_id: str


def event_source_name(prefix: str, organization_id: str, suffix: str) -> str:
    """The partner event source's name, which is the `Source` of every event sent to it."""
    return f"{prefix}/{organization_id}/{suffix}"


def validate(integration: Integration, rules: Rules) -> list[Problem]:
    """Everything wrong with this integration by itself, each problem at its key.

    One that is DISABLED may be a draft, without account, region and suffix; what is there must be right all the same.
    """
    return [
        *_validate_words(integration),
        *_validate_identity(integration, rules),
        *_validate_filters(integration.topic_filters),
    ]


def suffix_holder(integration: Integration, others: Iterable[Integration]) -> Integration | None:
    """The other integration that stands in the way of this one: both are enabled and have the same suffix."""
    if integration.intended_state is not IntendedState.ENABLED:
        return None
    for other in others:
        same = other.event_source_suffix == integration.event_source_suffix
        if same and other.id != integration.id and other.intended_state is IntendedState.ENABLED:
            return other
    return None


def _validate_words(integration: Integration) -> Iterator[Problem]:
    name, notes = integration.name, integration.notes
    if not name.strip():
        yield Problem("the name is empty", key=Key.NAME)
    if len(name) > MAX_NAME_CHARACTERS:
        yield Problem(f"the name has {len(name)} characters, at most {MAX_NAME_CHARACTERS} are allowed", key=Key.NAME)
    if bad := _NOT_IN_A_LINE.search(name):
        yield Problem(f"the character {bad[0]!r} is not allowed in a name", key=Key.NAME)
    if len(notes) > MAX_NOTES_CHARACTERS:
        fault = f"the notes have {len(notes)} characters, at most {MAX_NOTES_CHARACTERS} are allowed"
        yield Problem(fault, key=Key.NOTES)
    if bad := _NOT_IN_TEXT.search(notes):
        yield Problem(f"the character {bad[0]!r} is not allowed in notes", key=Key.NOTES)


def _validate_identity(integration: Integration, rules: Rules) -> Iterator[Problem]:
    draft = integration.intended_state is IntendedState.DISABLED
    account, region, suffix = integration.account_id, integration.region, integration.event_source_suffix
    if not (_ACCOUNT.fullmatch(account) or (draft and not account)):
        yield Problem(INVALID_ACCOUNT, key=Key.AWS_ACCOUNT_ID, hint="it is 12 digits, such as 123456789012")
    if not (region in rules.regions or (draft and not region)):
        yield Problem(INVALID_REGION, key=Key.AWS_ACCOUNT_REGION, hint=_region_hint(region, rules.regions))
    if draft and not suffix:
        return
    if not _SUFFIX.fullmatch(suffix):
        hint = "it is 1 to 64 characters of A-Z, a-z, 0-9, '.', '-' and '_'"
        yield Problem("Invalid event source suffix", key=Key.EVENT_SOURCE_SUFFIX, hint=hint)
        return
    source_name = event_source_name(rules.event_source_prefix, rules.organization_id, suffix)
    if len(source_name) > MAX_SOURCE_CHARACTERS or not _SOURCE_NAME.fullmatch(source_name):
        fault = f"EventBridge does not take the event source name {source_name!r}"
        hint = f"at most {MAX_SOURCE_CHARACTERS} characters, aws.partner/… of A-Z, a-z, 0-9, '.', '-', '_' and '/'"
        yield Problem(fault, key=Key.EVENT_SOURCE_SUFFIX, hint=hint)


def _validate_filters(topic_filters: Iterable[str]) -> Iterator[Problem]:
    for text in topic_filters:
        try:
            parse_topic_filter(text)
        except TopicFilterError as error:
            yield Problem(str(error), key=Key.EVENT_FILTER)


def _region_hint(region: str, regions: Collection[str]) -> str:
    near = get_close_matches(region, regions, n=1)
    return f"did you mean {near[0]}?" if near else "it is an EventBridge region, such as us-east-1"
