"""From what a client wants to what is written into a file, and from what is wrong with that to the client's fields.
Pure."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

import msgspec

from forwarder.api.models import UpdateConfiguration
from forwarder.errors import Problem
from forwarder.integrations import env_file
from forwarder.ops.refusals import Fault
from forwarder.rules.validation import Key

FIELDS = {
    Key.NAME: "name",
    Key.NOTES: "notes",
    Key.AWS_ACCOUNT_ID: "properties.awsAccountId",
    Key.AWS_ACCOUNT_REGION: "properties.awsAccountRegion",
    Key.EVENT_SOURCE_SUFFIX: "properties.eventSourceSuffix",
    Key.EVENT_FILTER: "properties.eventFilter",
    Key.INTENDED_STATE: "intendedState",
}
_MAX_SLUG = 48


def configuration_changes(wanted: UpdateConfiguration) -> dict[str, str]:
    """The values of the file's keys that a configuration gives."""
    properties = wanted.properties
    changes: dict[str, str] = {
        Key.NAME: wanted.name,
        Key.AWS_ACCOUNT_ID: properties.aws_account_id,
        Key.AWS_ACCOUNT_REGION: properties.aws_account_region,
        Key.EVENT_SOURCE_SUFFIX: properties.event_source_suffix,
        Key.EVENT_FILTER: _written(properties.event_filter),
    }
    return changes if wanted.notes is None else {**changes, Key.NOTES: wanted.notes}


def free_id(name: str, taken: Collection[str]) -> str:
    """An id that follows from the name and is not taken: `sales-crm`, `sales-crm-2`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:_MAX_SLUG].strip("-") or "integration"
    number, found = 1, slug
    while found in taken:
        number += 1
        found = f"{slug}-{number}"
    return found


def differences(values: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """The changes that change anything; what means the same stays as it is written."""
    meant = {Key.EVENT_FILTER: _filters_meant}
    missing: dict[str, str] = {**dict.fromkeys(Key, ""), Key.NAME: env_file.DEFAULT_NAME, Key.INTENDED_STATE: "none"}
    return {
        key: value
        for key, value in changes.items()
        if meant.get(Key(key), str)(values.get(key, missing[key])) != meant.get(Key(key), str)(value)
    }


def _filters_meant(value: str) -> object:
    try:
        return env_file.parse_filter_list(value)
    except ValueError:
        return value


def _written(filters: Sequence[str]) -> str:
    """The value of EVENT_FILTER. One that would not read back as it is goes into a JSON list, and is refused there."""
    plain = ", ".join(filters)
    reads_back = _filters_meant(plain) == tuple(dict.fromkeys(filters))
    return plain if reads_back else msgspec.json.encode(filters).decode()


def fault_of(problem: Problem) -> Fault:
    """What is wrong with a file's text, at the client's field; what belongs to none, with its place in the file."""
    field = FIELDS.get(problem.key) if problem.key in Key.__members__ else None  # type: ignore[call-overload]  # None is no member
    if field is None:
        return Fault(str(problem))
    return Fault(problem.message, field, hint=problem.hint)
