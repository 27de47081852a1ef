"""A daemon's snapshot to render: one integration delivering, one in trouble, one deleted with its books still there."""

import pytest

from forwarder.errors import Problem
from forwarder.intake.base import IntakeHealth
from forwarder.model import Destination, Integration, IntegrationStatus, IntendedState, Reason, State
from forwarder.ops.snapshot import LaneView, RegionView, ReloadView, Snapshot, SourceView
from forwarder.spool.base import Books, IntakeBooks, LaneBooks, SpoolUsage

NOW = 1_800_000_000.0


def integration_status(id_: str, state: State, reason: str = "as asked") -> IntegrationStatus:
    return IntegrationStatus(
        integration=Integration(
            id=id_,
            name=f"Integration {id_}",
            notes="",
            account_id="123456789012",
            region="us-east-1",
            event_source_suffix=id_,
            topic_filters=("v2.users.*.presence",),
            intended_state=IntendedState.ENABLED,
        ),
        destination=Destination("123456789012", "us-east-1", f"aws.partner/genesys.com/cloud/org/{id_}"),
        state=state,
        reason=reason,
        takes_events=state is State.ACTIVE,
        sends=state is State.ACTIVE,
    )


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot(
        started_at=NOW - 60,
        draining=False,
        intake="mqtt",
        intake_health=IntakeHealth(connected=True, detail="connected", reconnects=2, last_message_at=NOW - 1),
        receiver_trouble=None,
        books=Books(
            intakes={"mqtt": IntakeBooks(malformed=1, unmatched=2, matched=30), "file": IntakeBooks(matched=5)},
            lanes={
                "crm": LaneBooks(matched=25, delivered=20, expired=1, dead_lettered={Reason.OVERSIZE: 2}),
                "gone": LaneBooks(matched=5, delivered=5, retried={Reason.TIMEOUT: 3}),
            },
        ),
        spool=SpoolUsage(bytes_used=4096, bytes_limit=1_000_000, oldest_received_at=NOW - 12.5),
        spool_answering=True,
        integrations=(
            integration_status("crm", State.ACTIVE),
            integration_status("fresh", State.ERROR, "the event source was deleted"),
        ),
        lanes={
            "crm": LaneView(buffered=3, in_flight=2, trouble=None, retry_at=None, last_delivered_at=NOW - 1),
            "fresh": LaneView(buffered=0, in_flight=0, trouble="throttled", retry_at=NOW + 3, last_delivered_at=None),
        },
        regions={"us-east-1": RegionView(limit=64, in_flight=1, throttles=7, waited_seconds=1.5)},
        sources={"crm": SourceView("PENDING", NOW + 600), "fresh": SourceView(None, None)},
        reload=ReloadView(
            successful=False,
            last_success_at=NOW - 30,
            succeeded=4,
            failed=1,
            problems=(Problem("Invalid AWS Region", "config/integrations/bad.env", 4, "AWS_ACCOUNT_REGION", "say"),),
        ),
    )
