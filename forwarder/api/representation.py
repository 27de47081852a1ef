"""What is known of an integration, as the API shows it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from forwarder.api.administration import View
from forwarder.api.models import (
    TYPE_ID,
    Configuration,
    CurrentConfiguration,
    Integration,
    MessageInfo,
    PageQuery,
    Properties,
    StatusInfo,
    TypeReference,
)
from forwarder.integrations.env_file import DEFAULT_NAME, parse_filter_list
from forwarder.model import IntendedState, State
from forwarder.rules.validation import Key

BASE = "/api/v2/integrations"
_EFFECTIVE = {
    State.ACTIVE: "Active",
    State.ACTIVATING: "Activating",
    State.INACTIVE: "Inactive",
    State.DEACTIVATING: "Deactivating",
    State.ERROR: "Error",
}


def integration(view: View) -> Integration:
    """The integration with its configuration and state."""
    source = {"eventSourceName": view.status.destination.event_source_name} if view.status else {}
    return Integration(
        id=view.id,
        name=view.values.get(Key.NAME, DEFAULT_NAME),
        integration_type=TypeReference(TYPE_ID),
        notes=view.values.get(Key.NOTES, ""),
        intended_state=_intended_state(view),
        config=CurrentConfiguration(configuration(view)),
        reported_state=_reported_state(view),
        attributes=source,
        self_uri=_uri(view),
    )


def configuration(view: View) -> Configuration:
    """The configuration alone."""
    values = view.values
    return Configuration(
        id=view.id,
        name=values.get(Key.NAME, DEFAULT_NAME),
        version=view.version,
        properties=Properties(
            values.get(Key.AWS_ACCOUNT_ID, ""),
            values.get(Key.AWS_ACCOUNT_REGION, ""),
            values.get(Key.EVENT_SOURCE_SUFFIX, ""),
            _filters(values.get(Key.EVENT_FILTER, "")),
        ),
        notes=values.get(Key.NOTES, ""),
        self_uri=f"{_uri(view)}/config/current",
    )


def page(entities: Sequence[Any], query: PageQuery, path: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The entities of this page, and where it and its neighbours are. `given` is the query as it was sent."""
    size, number, total = query.page_size, query.page_number, len(entities)
    count = max(1, -(-total // size))

    def uri(which: int) -> str:
        return f"{path}?{urlencode({**given, 'pageSize': size, 'pageNumber': which})}"

    return {
        "entities": list(entities[(number - 1) * size : number * size]),
        "page_size": size,
        "page_number": number,
        "total": total,
        "page_count": count,
        "self_uri": uri(number),
        "first_uri": uri(1),
        "last_uri": uri(count),
        "next_uri": uri(number + 1) if number < count else None,
        "previous_uri": uri(number - 1) if 1 < number <= count else None,
    }


def _uri(view: View) -> str:
    return f"{BASE}/{quote(view.id)}"


def _intended_state(view: View) -> Any:
    if view.deleting:
        return "DELETED"
    written = view.values.get(Key.INTENDED_STATE, "")
    if written in IntendedState.__members__:
        return written
    return view.status.integration.intended_state.value if view.status else IntendedState.DISABLED.value


def _reported_state(view: View) -> StatusInfo:
    state, message = _state(view)
    return StatusInfo(
        code=state.value,
        effective=_EFFECTIVE[state],
        detail=MessageInfo(f"integration.{state.value.lower()}", message, message, {}),
        last_updated=datetime.fromtimestamp(view.since, UTC),
    )


def _state(view: View) -> tuple[State, str]:
    problems = "; ".join(view.problems)
    if view.deleting and (view.status is None or view.status.state is not State.ERROR):
        return State.DEACTIVATING, "the integration is being deleted"
    if view.status is None:
        return (State.ERROR, problems) if problems else (State.INACTIVE, "the file is about to be read")
    if problems:
        return view.status.state, f"{view.status.reason}. The file is not in force as it is now: {problems}"
    return view.status.state, view.status.reason


def _filters(value: str) -> list[str]:
    try:
        return list(parse_filter_list(value))
    except ValueError:  # shown as it is, so that it can be mended
        return [value]
