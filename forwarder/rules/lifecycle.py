"""The life of an integration and of its partner event source, as one pure function: `plan`.

What an integration *is* stands in the lifecycle record (`Recorded.standing`); what an admin does moves it:

| from         | on                                                     | to           |
|--------------|--------------------------------------------------------|--------------|
| (none)       | a file says ENABLED: activate                          | ACTIVE       |
| (none)       | a file says DISABLED: note it                          | DISABLED     |
| ACTIVE       | the file says DISABLED: pause                          | DISABLED     |
| ACTIVE       | account, region or suffix changed: deactivate          | DEACTIVATED  |
| ACTIVE       | the same, while the source is still being made: retarget | ACTIVE     |
| ACTIVE       | the same, where automatic re-activation is on: activate  | ACTIVE     |
| DISABLED     | the file says ENABLED: activate                        | ACTIVE       |
| DEACTIVATED  | the file says DISABLED: pause                          | DISABLED     |
| DEACTIVATED  | an activation is asked for: activate                   | ACTIVE       |
| any          | a deletion is asked for by name: delete                | DELETING     |
| DELETING     | its source is deleted and what was pending is buried   | DELETED      |
| DELETED      | its file is gone, its lane is dropped: forget          | (none)       |
| DELETED      | an activation is asked for: activate                   | ACTIVE       |

A file that is gone moves nothing: the integration is reported as paused, and nothing is done in AWS for it.

Events are taken from the moment an activation is decided. Those that had been taken before it for another source are
buried; the reconciler notes where in the log they end.

What is done follows from the record alone, one action at a time, so that a crash at any moment resumes where it was:

| standing | the record says                               | action                                   |
|----------|-----------------------------------------------|------------------------------------------|
| ACTIVE   | what is pending was for another source        | Bury(SOURCE_REPLACED), up to the change  |
| ACTIVE   | another source than the target                | DeleteSource(source)                     |
| ACTIVE   | the target is not made sure of                | CreateSource(target), noted down before  |
| DELETING | a source                                      | DeleteSource(source)                     |
| DELETING | no source                                     | Bury(INTEGRATION_DELETED)                |
| DELETED  | (and the file is gone)                        | Forget                                   |
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from forwarder.model import Destination, Integration, IntendedState, Reason


class Standing(StrEnum):
    """Where an integration stands in the table above."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    DEACTIVATED = "DEACTIVATED"
    DELETING = "DELETING"
    DELETED = "DELETED"


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is remembered of an integration across restarts.

    `integration` is the last good version of its file, and `has_file` whether that was in force: should the file or its
    directory be unreadable at the next start, the integration goes on with it. `target` is the identity that was
    activated last, `source` the one that exists in AWS or may exist: it is noted down before the call that makes it.
    `created_at` (epoch seconds) says that it was seen to exist.
    """

    integration: Integration
    standing: Standing
    has_file: bool = True
    why: str = ""  # of DEACTIVATED: what changed
    target: Destination | None = None
    source: Destination | None = None
    created_at: float | None = None
    ensure: bool = False  # the activation has not made sure yet that the source exists
    pending_for: Destination | None = None  # the source that what is pending was accepted for
    pending_to: int | None = None  # where in the log that ends, noted when another source is activated
    activation_requested: bool = False

    @property
    def established(self) -> bool:
        """Whether the activation is complete: the activated source was seen to exist."""
        return self.standing is Standing.ACTIVE and self.source == self.target and not self.ensure

    @property
    def replaces(self) -> bool:
        """Whether something may be pending for another source than the one that is activated."""
        return self.standing is Standing.ACTIVE and self.pending_for not in (None, self.target)


class Wanted(msgspec.Struct, frozen=True):
    """An integration as its file says now, with the identity that follows from it."""

    integration: Integration
    destination: Destination


class CreateSource(msgspec.Struct, frozen=True):
    """Make sure that the source exists."""

    destination: Destination


class DeleteSource(msgspec.Struct, frozen=True):
    """Make sure that the source does not exist."""

    destination: Destination


class Bury(msgspec.Struct, frozen=True):
    """Turn what is pending for the integration, up to that place in the log (None: all), into dead letters."""

    reason: Reason
    message: str
    up_to: int | None = None


class Forget(msgspec.Struct, frozen=True):
    """Drop the integration's lane."""


Action = CreateSource | DeleteSource | Bury | Forget


class Plan(msgspec.Struct, frozen=True):
    """What the record must say before anything is done, and the one thing to do next."""

    recorded: Recorded
    action: Action | None
    conflict: str | None = None  # the integration that has the wanted source and keeps it


def plan(
    desired: Mapping[str, Wanted],
    recorded: Mapping[str, Recorded],
    busy: Collection[str] = (),
    *,
    reactivate: bool = False,
) -> dict[str, Plan]:
    """What to remember and what to do next, for every integration that has a file or a record.

    A record that is not in the result is to be dropped. `busy` names the integrations that have an action under way:
    nothing is taken from them. `reactivate`: a change of identity activates again by itself.
    """
    records: dict[str, Recorded] = {}
    for integration_id in sorted(desired.keys() | recorded.keys()):
        stands = stand(desired.get(integration_id), recorded.get(integration_id), reactivate=reactivate)
        if stands is not None:
            records[integration_id] = stands
    conflicts = {
        integration_id: _claim(integration_id, records, desired.keys(), busy)
        for integration_id in list(records)
        if integration_id in desired
    }
    plans = {}
    for integration_id, stands in records.items():
        conflict = conflicts.get(integration_id)
        action = _next_action(stands, has_file=integration_id in desired, conflict=conflict)
        plans[integration_id] = Plan(stands, action, conflict)
    return plans


def stand(wanted: Wanted | None, recorded: Recorded | None, *, reactivate: bool = False) -> Recorded | None:
    """Where an integration stands now, by the first table of this module. None: there is nothing to remember."""
    if wanted is None:
        return recorded and replace(recorded, has_file=False)
    if recorded is None:
        recorded = Recorded(wanted.integration, Standing.DISABLED)
    recorded = replace(recorded, integration=wanted.integration, has_file=True)
    if recorded.standing is Standing.DELETING or (
        recorded.standing is Standing.DELETED and not recorded.activation_requested
    ):
        return recorded
    if wanted.integration.intended_state is IntendedState.DISABLED:
        return replace(recorded, standing=Standing.DISABLED, why="")
    if _must_deactivate(wanted, recorded, reactivate=reactivate):
        why = recorded.why or _what_changed(wanted.destination, recorded.target)
        return replace(recorded, standing=Standing.DEACTIVATED, why=why)
    if recorded.standing is Standing.ACTIVE and recorded.target == wanted.destination:
        return recorded if not recorded.activation_requested else _activate(recorded, wanted.destination)
    return _activate(recorded, wanted.destination)


def _must_deactivate(wanted: Wanted, recorded: Recorded, *, reactivate: bool) -> bool:
    if recorded.activation_requested or reactivate:
        return False
    changed = recorded.established and recorded.target != wanted.destination
    return changed or recorded.standing is Standing.DEACTIVATED


def _what_changed(new: Destination, old: Destination | None) -> str:
    if old is None:
        return "account, region or suffix changed"
    changes = (
        ("AWS account ID", old.account_id, new.account_id),
        ("AWS account region", old.region, new.region),
        ("event source", old.event_source_name, new.event_source_name),
    )
    return ", ".join(f"{what} changed from {before} to {after}" for what, before, after in changes if before != after)


def _activate(recorded: Recorded, destination: Destination) -> Recorded:
    activated = replace(
        recorded, standing=Standing.ACTIVE, why="", target=destination, ensure=True, activation_requested=False
    )
    return activated if activated.replaces else replace(activated, pending_to=None)


def _claim(
    integration_id: str, records: dict[str, Recorded], have_files: Collection[str], busy: Collection[str]
) -> str | None:
    """Note down in `records` the source that is about to be made, taking it over from an integration that is paused.

    Two integrations with one suffix are one source in AWS, of which only one may be active; were both to keep it in
    their records, deleting the one would delete the other's. Returns who keeps it, where it cannot be taken over.
    """
    mine = records[integration_id]
    if mine.standing is not Standing.ACTIVE or mine.source is not None or mine.target is None:
        return None
    owner_id = next((other for other, record in records.items() if record.source == mine.target), None)
    if owner_id is None:
        # Whoever had it last may have deleted it, even where this one has been established before.
        records[integration_id] = replace(mine, source=mine.target, ensure=True)
        return None
    owner = records[owner_id]
    active = owner.standing is Standing.ACTIVE and owner_id in have_files
    if active or owner.standing is Standing.DELETING or owner_id in busy:
        return owner_id
    records[integration_id] = replace(mine, source=mine.target, created_at=owner.created_at, ensure=True)
    records[owner_id] = without_source(owner)
    return None


def _next_action(recorded: Recorded, *, has_file: bool, conflict: str | None) -> Action | None:
    match recorded.standing:
        case Standing.DELETING if recorded.source is not None:
            return DeleteSource(recorded.source)
        case Standing.DELETING:
            return Bury(Reason.INTEGRATION_DELETED, "the integration was deleted")
        case Standing.DELETED if not has_file:
            return Forget()
        case Standing.ACTIVE if has_file and conflict is None and recorded.target is not None:
            return _next_of_activation(recorded, recorded.target)
    return None


def _next_of_activation(recorded: Recorded, target: Destination) -> Action | None:
    source, old = recorded.source, recorded.pending_for
    if old is not None and old != target:
        if recorded.pending_to is None:
            return None
        message = f"{old.event_source_name} in account {old.account_id}, {old.region}, was replaced"
        return Bury(Reason.SOURCE_REPLACED, message, recorded.pending_to)
    if source is not None and source != target:
        return DeleteSource(source)
    return CreateSource(target) if recorded.ensure else None


def completed(recorded: Recorded, action: Action, now: float) -> Recorded | None:
    """The record after the action has been carried out; `recorded` may have moved on meanwhile. None: drop it."""
    match action:
        case CreateSource(destination) if recorded.source == destination:
            recorded = replace(recorded, created_at=recorded.created_at or now)
            if recorded.standing is Standing.ACTIVE and recorded.target == destination:
                return replace(recorded, ensure=False, pending_for=destination)
        case DeleteSource(destination) if recorded.source == destination:
            return without_source(recorded)
        case Bury(Reason.INTEGRATION_DELETED) if recorded.standing is Standing.DELETING:
            return replace(recorded, standing=Standing.DELETED)
        case Bury(Reason.SOURCE_REPLACED, up_to=up_to) if recorded.pending_to == up_to:
            return replace(recorded, pending_for=None, pending_to=None)
        case Forget():
            return None
    return recorded


def pending_noted(recorded: Recorded, matched_to: int) -> Recorded:
    """The record once it is known where in the log what is pending for a source that is being replaced ends."""
    return replace(recorded, pending_to=matched_to) if recorded.replaces and recorded.pending_to is None else recorded


def without_source(recorded: Recorded) -> Recorded:
    """The record of an integration whose source is known not to exist, or to be another's now."""
    return replace(recorded, source=None, created_at=None)


def activation_requested(recorded: Recorded) -> Recorded:
    """The record after an admin has asked by name that the integration be activated (again)."""
    return replace(recorded, activation_requested=True)


def deletion_requested(recorded: Recorded) -> Recorded:
    """The record after an admin has asked by name that the integration be deleted."""
    if recorded.standing in (Standing.DELETING, Standing.DELETED):
        return recorded
    return replace(recorded, standing=Standing.DELETING, why="", activation_requested=False)
