"""What is said of an integration: its state, the reason in a sentence an admin can act on, and what its lane may do."""

from datetime import UTC, datetime

import msgspec

from forwarder.model import Destination, IntegrationStatus, State
from forwarder.rules.lifecycle import Bury, CreateSource, DeleteSource, Plan, Recorded, Standing


class Trouble(msgspec.Struct, frozen=True):
    """Why the last attempt at an action failed. `waiting_helps`: nobody needs to do anything about it."""

    message: str
    waiting_helps: bool


class Observed(msgspec.Struct, frozen=True):
    """What has been seen of an integration since the start.

    `source_state` is PENDING, ACTIVE or DELETED (None: not asked yet), `expires_at` in epoch seconds. `refused` is what
    AWS answered to an event for a source that it does not know.
    """

    source_state: str | None = None
    expires_at: float | None = None
    refused: str | None = None
    trouble: Trouble | None = None


def status(
    plan: Plan, observed: Observed, destination: Destination, *, has_file: bool, hold_while_pending: bool
) -> IntegrationStatus:
    """The status to publish. `destination` is the identity that the file says, or said last."""
    recorded = plan.recorded
    active = recorded.standing is Standing.ACTIVE and has_file
    if not active:
        state, reason, sends = *_at_rest(recorded, observed, has_file=has_file), False
    elif not recorded.established:
        state, reason, sends = *_activating(plan, observed), False
    else:
        state, reason, sends = _running(recorded, observed, hold=hold_while_pending)
    return IntegrationStatus(
        integration=recorded.integration,
        destination=(recorded.target if active else recorded.source) or destination,
        state=state,
        reason=reason,
        takes_events=active,
        sends=sends,
    )


def without_place(status: IntegrationStatus) -> IntegrationStatus:
    """The status of an integration that the spool has no place for: nothing may be matched for it."""
    reason = (
        "the spool has no place left: too many integrations, most of them without a file, still have events in it. Put "
        "their files back so that the events are delivered, or delete those integrations with "
        "`forwarder integrations delete ID`"
    )
    return msgspec.structs.replace(status, state=State.ERROR, reason=reason, takes_events=False, sends=False)


def _at_rest(recorded: Recorded, observed: Observed, *, has_file: bool) -> tuple[State, str]:
    integration_id = recorded.integration.id
    match recorded.standing:
        case Standing.DELETING:
            return _in_trouble(State.DEACTIVATING, "the integration is being deleted", observed.trouble)
        case Standing.DELETED:
            return State.INACTIVE, (
                f"the integration was deleted, but {integration_id}.env is still there: remove the file, "
                f"or run `forwarder integrations activate {integration_id}` to start anew"
            )
    if not has_file:
        return State.INACTIVE, (
            f"{integration_id}.env is gone or cannot be used: the integration is paused, nothing was deleted in AWS. "
            f"Put the file back, or run `forwarder integrations delete {integration_id}`"
        )
    if recorded.standing is Standing.DEACTIVATED:
        kept = f"; {recorded.source.event_source_name} was left as it is" if recorded.source else ""
        return State.INACTIVE, (
            f"deactivated because the {recorded.why}{kept}. To delete the old event source and create the new one run "
            f"`forwarder integrations activate {integration_id}`, or set INTENDED_STATE to DISABLED and then to ENABLED"
        )
    return State.INACTIVE, "INTENDED_STATE is DISABLED"


def _activating(plan: Plan, observed: Observed) -> tuple[State, str]:
    if plan.conflict is not None:
        return State.ERROR, (
            f"Event source suffix must be unique: the integration {plan.conflict} has the same event source; "
            "change the suffix of one of them, or wait until the other is deleted"
        )
    match plan.action:
        case Bury():
            doing = "moving what is pending for the old event source to the dead letters"
        case DeleteSource(old):
            doing = f"deleting the old event source {old.event_source_name} in account {old.account_id}, {old.region}"
        case CreateSource(new):
            doing = f"creating the event source {new.event_source_name} in account {new.account_id}, {new.region}"
        case _:
            doing = "activating"
    return _in_trouble(State.ACTIVATING, doing, observed.trouble)


def _in_trouble(state: State, doing: str, trouble: Trouble | None) -> tuple[State, str]:
    if trouble is None:
        return state, doing
    return (state if trouble.waiting_helps else State.ERROR), f"{doing}: {trouble.message}"


def _running(recorded: Recorded, observed: Observed, *, hold: bool) -> tuple[State, str, bool]:
    again = f"`forwarder integrations activate {recorded.integration.id}` creates it anew"
    if observed.source_state == "DELETED":
        return State.ERROR, f"the event source no longer exists in AWS; events wait here. {again}", False
    if observed.refused is not None:
        return (
            State.ERROR,
            f"AWS refuses events for the event source: {observed.refused.rstrip('. ')}. If it is gone, {again}",
            False,
        )
    if observed.source_state == "PENDING":
        return State.ACTIVE, _pending(observed.expires_at, hold=hold), not hold
    if observed.source_state is None:
        why = f" ({observed.trouble.message})" if observed.trouble else ""
        return State.ACTIVE, f"the state of the event source in AWS is not known yet{why}", not hold
    if not recorded.integration.topic_filters:
        return State.ACTIVE, "no topic filter is set, so no event is sent", True
    return State.ACTIVE, "events flow", True


def _pending(expires_at: float | None, *, hold: bool) -> str:
    until = (
        f", and the source expires on {datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M} UTC"
        if expires_at
        else ""
    )
    meanwhile = "events wait here until then" if hold else "until then AWS accepts events and DROPS them"
    return f"PENDING: associate the partner event source with an event bus in the AWS account; {meanwhile}{until}"
