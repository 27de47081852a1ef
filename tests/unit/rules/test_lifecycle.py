"""Every edge of the two tables in forwarder/rules/lifecycle.py."""

import pytest
from msgspec.structs import replace

from forwarder.model import Destination, Integration, IntendedState, Reason, State
from forwarder.rules.lifecycle import (
    Action,
    Bury,
    CreateSource,
    DeleteSource,
    Forget,
    Plan,
    Recorded,
    Standing,
    Wanted,
    activation_requested,
    completed,
    deletion_requested,
    pending_noted,
    plan,
    stand,
    without_source,
)
from forwarder.rules.lifecycle_status import Observed, Trouble, status

ACCOUNT, OTHER_ACCOUNT = "111111111111", "222222222222"


def place(suffix: str = "crm", account: str = ACCOUNT, region: str = "us-east-1") -> Destination:
    return Destination(account, region, f"aws.partner/example.com/org/{suffix}")


def wanted(
    destination: Destination | None = None,
    *,
    enabled: bool = True,
    integration_id: str = "crm",
    filters: tuple[str, ...] = ("v2.users.{id}.presence",),
) -> Wanted:
    destination = destination or place()
    integration = Integration(
        id=integration_id,
        name="CRM",
        notes="",
        account_id=destination.account_id,
        region=destination.region,
        event_source_suffix=destination.event_source_name.rpartition("/")[2],
        topic_filters=filters,
        intended_state=IntendedState.ENABLED if enabled else IntendedState.DISABLED,
    )
    return Wanted(integration, destination)


def active(destination: Destination | None = None, integration_id: str = "crm") -> Recorded:
    destination = destination or place()
    integration = wanted(destination, integration_id=integration_id).integration
    return Recorded(
        integration, Standing.ACTIVE, target=destination, source=destination, created_at=1.0, pending_for=destination
    )


def disabled(destination: Destination | None = None, integration_id: str = "crm") -> Recorded:
    return replace(active(destination, integration_id), standing=Standing.DISABLED)


def deactivated() -> Recorded:
    return replace(active(), standing=Standing.DEACTIVATED, why="AWS account ID changed from 1 to 2")


def one(desired: Wanted | None, recorded: Recorded | None, *, reactivate: bool = False) -> Plan | None:
    files = {} if desired is None else {"crm": desired}
    records = {} if recorded is None else {"crm": recorded}
    return plan(files, records, reactivate=reactivate).get("crm")


NEW = place(account=OTHER_ACCOUNT)


@pytest.mark.parametrize(
    ("before", "file", "after"),
    [
        pytest.param(None, wanted(), Standing.ACTIVE, id="new and enabled"),
        pytest.param(None, wanted(enabled=False), Standing.DISABLED, id="new and disabled"),
        pytest.param(active(), wanted(), Standing.ACTIVE, id="nothing changed"),
        pytest.param(active(), wanted(enabled=False), Standing.DISABLED, id="paused"),
        pytest.param(active(), wanted(NEW), Standing.DEACTIVATED, id="account changed"),
        pytest.param(active(), wanted(place(region="eu-west-1")), Standing.DEACTIVATED, id="region changed"),
        pytest.param(active(), wanted(place("erp")), Standing.DEACTIVATED, id="suffix changed"),
        pytest.param(active(), wanted(NEW, enabled=False), Standing.DISABLED, id="changed and paused at once"),
        pytest.param(disabled(), wanted(), Standing.ACTIVE, id="enabled again"),
        pytest.param(disabled(), wanted(NEW), Standing.ACTIVE, id="enabled again elsewhere"),
        pytest.param(deactivated(), wanted(NEW), Standing.DEACTIVATED, id="stays deactivated"),
        pytest.param(deactivated(), wanted(), Standing.DEACTIVATED, id="stays deactivated when changed back"),
        pytest.param(deactivated(), wanted(NEW, enabled=False), Standing.DISABLED, id="deactivated, then disabled"),
        pytest.param(activation_requested(deactivated()), wanted(NEW), Standing.ACTIVE, id="activated by name"),
        pytest.param(deletion_requested(active()), wanted(), Standing.DELETING, id="deleted while the file is there"),
        pytest.param(deletion_requested(disabled()), wanted(NEW), Standing.DELETING, id="edited while being deleted"),
        pytest.param(replace(active(), standing=Standing.DELETED), wanted(), Standing.DELETED, id="file left behind"),
        pytest.param(
            activation_requested(without_source(replace(active(), standing=Standing.DELETED))),
            wanted(),
            Standing.ACTIVE,
            id="started anew",
        ),
        pytest.param(active(), None, Standing.ACTIVE, id="vanished"),
        pytest.param(deactivated(), None, Standing.DEACTIVATED, id="vanished while deactivated"),
    ],
)
def test_an_admins_step_leads_to(before: Recorded | None, file: Wanted | None, after: Standing) -> None:
    stands = stand(file, before)
    assert stands is not None
    assert stands.standing is after


def test_filters_name_and_notes_are_live() -> None:
    edited = wanted(filters=("v2.#",))
    edited = replace(edited, integration=replace(edited.integration, name="new", notes="new"))
    made = one(edited, active())
    assert made == Plan(replace(active(), integration=edited.integration), None)


def test_the_reason_of_a_deactivation_names_what_changed() -> None:
    stands = stand(wanted(place("erp", OTHER_ACCOUNT)), active())
    assert stands is not None
    assert stands.why == (
        f"AWS account ID changed from {ACCOUNT} to {OTHER_ACCOUNT}, event source changed from "
        "aws.partner/example.com/org/crm to aws.partner/example.com/org/erp"
    )
    again = stand(wanted(place("third")), stands)
    assert again is not None
    assert again.why == stands.why


END = 7


def noted(made: Plan | None, desired: Wanted | None) -> Plan | None:
    """The plan once it is known where in the log what is pending ends."""
    return made and one(desired, pending_noted(made.recorded, END))


def run_to_rest(desired: Wanted | None, recorded: Recorded | None, *, reactivate: bool = False) -> list[Action]:
    """All actions that follow, each of which succeeds."""
    done: list[Action] = []
    while (made := noted(one(desired, recorded, reactivate=reactivate), desired)) and made.action is not None:
        done.append(made.action)
        recorded = completed(made.recorded, made.action, now=5.0)
        assert len(done) < 10
    return done


BURY_REPLACED = Bury(
    Reason.SOURCE_REPLACED, f"{place().event_source_name} in account {ACCOUNT}, us-east-1, was replaced", END
)
BURY_DELETED = Bury(Reason.INTEGRATION_DELETED, "the integration was deleted")
REPLACEMENT = [BURY_REPLACED, DeleteSource(place()), CreateSource(NEW)]


@pytest.mark.parametrize(
    ("desired", "recorded", "actions"),
    [
        pytest.param(wanted(), None, [CreateSource(place())], id="first activation"),
        pytest.param(wanted(enabled=False), None, [], id="never activated"),
        pytest.param(wanted(), active(), [], id="restart"),
        pytest.param(wanted(enabled=False), active(), [], id="pause leaves the source"),
        pytest.param(wanted(NEW), active(), [], id="identity change leaves the source"),
        pytest.param(wanted(), disabled(), [CreateSource(place())], id="re-activation makes sure"),
        pytest.param(wanted(NEW), disabled(), REPLACEMENT, id="re-activation elsewhere replaces"),
        pytest.param(wanted(NEW), activation_requested(deactivated()), REPLACEMENT, id="activation by name replaces"),
        pytest.param(
            wanted(), activation_requested(active()), [CreateSource(place())], id="activation by name recreates"
        ),
        pytest.param(None, active(), [], id="a vanished file touches nothing"),
        pytest.param(None, activation_requested(deactivated()), [], id="nor does it finish a replacement"),
        pytest.param(
            wanted(), deletion_requested(active()), [DeleteSource(place()), BURY_DELETED], id="deletion, file"
        ),
        pytest.param(
            None, deletion_requested(active()), [DeleteSource(place()), BURY_DELETED, Forget()], id="deletion"
        ),
        pytest.param(
            None,
            deletion_requested(replace(active(NEW), source=place(), pending_for=None)),
            [DeleteSource(place()), BURY_DELETED, Forget()],
            id="deletion in the middle of a replacement",
        ),
    ],
)
def test_what_follows_in_aws(desired: Wanted | None, recorded: Recorded | None, actions: list[Action]) -> None:
    assert run_to_rest(desired, recorded) == actions


def test_automatic_reactivation_replaces_without_being_asked() -> None:
    assert run_to_rest(wanted(NEW), active(), reactivate=True) == REPLACEMENT
    assert run_to_rest(wanted(NEW), deactivated(), reactivate=True) == REPLACEMENT


def test_a_source_is_noted_down_before_it_is_made() -> None:
    made = one(wanted(), None)
    assert made is not None
    assert (made.recorded.source, made.recorded.created_at, made.recorded.established) == (place(), None, False)


def test_an_activation_that_is_not_complete_is_retargeted_and_buries_nothing() -> None:
    begun = one(wanted(), None)
    assert begun is not None
    assert run_to_rest(wanted(NEW), begun.recorded) == [DeleteSource(place()), CreateSource(NEW)]


def test_a_replacement_that_is_changed_back_before_it_began_keeps_what_is_pending() -> None:
    asked = one(wanted(NEW), activation_requested(deactivated()))
    assert asked is not None
    assert run_to_rest(wanted(), asked.recorded) == [CreateSource(place())]


def test_a_replacement_that_is_changed_back_halfway_buries_nothing_that_came_in_since() -> None:
    asked = one(wanted(NEW), activation_requested(deactivated()))
    assert asked is not None
    halfway = completed(pending_noted(asked.recorded, END), BURY_REPLACED, 1.0)
    assert halfway is not None
    assert halfway.pending_for is None
    assert run_to_rest(wanted(), halfway) == [CreateSource(place())]


def test_nothing_is_buried_before_it_is_known_where_it_ends() -> None:
    asked = one(wanted(NEW), activation_requested(deactivated()))
    assert asked is not None
    assert (asked.action, asked.recorded.pending_to) == (None, None)
    assert pending_noted(asked.recorded, END).pending_to == END
    assert pending_noted(active(), END) == active()


def test_what_is_retargeted_meanwhile_is_buried_up_to_the_first_change() -> None:
    asked = one(wanted(NEW), activation_requested(deactivated()))
    assert asked is not None
    elsewhere = one(wanted(place("third")), pending_noted(asked.recorded, END))
    assert elsewhere is not None
    assert pending_noted(elsewhere.recorded, END + 5).pending_to == END
    assert elsewhere.action == BURY_REPLACED


def test_a_burial_that_ends_after_a_change_back_leaves_what_has_come_since_to_the_next_change() -> None:
    asked = one(wanted(NEW), activation_requested(deactivated()))
    assert asked is not None
    back = one(wanted(), pending_noted(asked.recorded, END))
    assert back is not None
    assert back.recorded.pending_to is None
    assert completed(back.recorded, BURY_REPLACED, 1.0) == back.recorded


def test_an_action_that_ends_after_the_admin_has_moved_on_books_only_what_is_still_true() -> None:
    deleting = deletion_requested(replace(active(NEW), source=place(), pending_for=place()))
    assert completed(deleting, BURY_REPLACED, 1.0) == deleting
    assert completed(active(), CreateSource(NEW), 1.0) == active()
    assert completed(active(), DeleteSource(NEW), 1.0) == active()
    assert completed(active(), BURY_DELETED, 1.0) == active()


class TestOneSuffixInTwoIntegrations:
    def test_an_active_one_takes_the_source_over_from_a_paused_one(self) -> None:
        plans = plan(
            {"a": wanted(enabled=False, integration_id="a"), "b": wanted(integration_id="b")},
            {"a": disabled(integration_id="a")},
        )
        assert plans["a"].recorded.source is None
        assert plans["b"].recorded.source == place()
        assert plans["b"].recorded.created_at == 1.0
        assert plans["b"].action == CreateSource(place())

    def test_one_whose_file_was_renamed_is_followed(self) -> None:
        plans = plan({"b": wanted(integration_id="b")}, {"a": active(integration_id="a")})
        assert (plans["a"].recorded.source, plans["b"].recorded.source) == (None, place())

    def test_what_is_pending_for_a_source_that_was_taken_over_never_goes_to_another(self) -> None:
        taken = replace(without_source(disabled()), pending_for=place())
        assert run_to_rest(wanted(NEW), taken) == [BURY_REPLACED, CreateSource(NEW)]

    @pytest.mark.parametrize("owner", [active(integration_id="a"), deletion_requested(active(integration_id="a"))])
    def test_it_is_left_to_one_that_is_active_or_being_deleted(self, owner: Recorded) -> None:
        plans = plan({"a": wanted(integration_id="a"), "b": wanted(integration_id="b")}, {"a": owner})
        assert (plans["b"].conflict, plans["b"].action, plans["b"].recorded.source) == ("a", None, None)

    def test_it_is_left_to_one_with_an_action_under_way(self) -> None:
        files = {"a": wanted(enabled=False, integration_id="a"), "b": wanted(integration_id="b")}
        assert plan(files, {"a": disabled(integration_id="a")}, busy={"a"})["b"].conflict == "a"


GONE = Observed(source_state="DELETED")
HELPLESS = Trouble("LimitExceeded", waiting_helps=False)
PASSING = Trouble("Throttling", waiting_helps=True)


@pytest.mark.parametrize(
    ("made", "observed", "hold", "state", "words", "takes", "sends"),
    [
        (Plan(active(), None), Observed("ACTIVE"), False, State.ACTIVE, "events flow", True, True),
        (Plan(active(), None), Observed(), False, State.ACTIVE, "not known yet", True, True),
        (Plan(active(), None), Observed(), True, State.ACTIVE, "not known yet", True, False),
        (Plan(active(), None), Observed("PENDING", 86400.0), False, State.ACTIVE, "DROPS", True, True),
        (Plan(active(), None), Observed("PENDING", 86400.0), True, State.ACTIVE, "1970-01-02 00:00 UTC", True, False),
        (Plan(active(), None), GONE, False, State.ERROR, "integrations activate crm", True, False),
        (Plan(active(), None), Observed("ACTIVE", refused="no"), False, State.ERROR, "refuses", True, False),
        (Plan(active(), None), Observed("ACTIVE", refused="no."), False, State.ERROR, ": no. If it", True, False),
        (Plan(active(NEW), CreateSource(NEW)), Observed(), False, State.ACTIVE, "", True, True),
        (Plan(disabled(), None), Observed("ACTIVE"), False, State.INACTIVE, "DISABLED", False, False),
        (Plan(deactivated(), None), Observed("ACTIVE"), False, State.INACTIVE, "AWS account ID changed", False, False),
        (Plan(deletion_requested(active()), None), Observed(), False, State.DEACTIVATING, "deleted", False, False),
        (
            Plan(deletion_requested(active()), None),
            Observed(trouble=HELPLESS),
            False,
            State.ERROR,
            "LimitExceeded",
            False,
            False,
        ),
    ],
)
def test_what_is_reported(
    *, made: Plan, observed: Observed, hold: bool, state: State, words: str, takes: bool, sends: bool
) -> None:
    reported = status(made, observed, place(), has_file=True, hold_while_pending=hold)
    assert (reported.state, reported.takes_events, reported.sends) == (state, takes, sends)
    assert words in reported.reason


@pytest.mark.parametrize(
    ("trouble", "state"), [(None, State.ACTIVATING), (PASSING, State.ACTIVATING), (HELPLESS, State.ERROR)]
)
def test_events_are_kept_and_not_sent_until_the_source_is_there(trouble: Trouble | None, state: State) -> None:
    made = one(wanted(), None)
    assert made is not None
    reported = status(made, Observed(trouble=trouble), place(), has_file=True, hold_while_pending=False)
    assert (reported.state, reported.takes_events, reported.sends) == (state, True, False)


def test_a_vanished_file_pauses_and_a_conflict_is_an_error() -> None:
    paused = status(Plan(active(), None), Observed(), place(), has_file=False, hold_while_pending=False)
    assert (paused.state, paused.takes_events, paused.sends) == (State.INACTIVE, False, False)
    refused = Plan(replace(active(), source=None, ensure=True), None, conflict="other")
    reported = status(refused, Observed(), place(), has_file=True, hold_while_pending=False)
    assert reported.state is State.ERROR
    assert "Event source suffix must be unique" in reported.reason
