"""What is owed, what arrives, and what a change of the filters excuses."""

from collections.abc import Sequence

import pytest

from forwarder.demo.ledger import GRACE, Ledger
from forwarder.demo.traffic import notifications
from forwarder.model import Destination, Integration, IntegrationStatus, IntendedState, State

CRM, WFM = "aws.partner/x/crm", "aws.partner/x/wfm"
PRESENCE, ANY = "v2.users.{id}.presence", "v2.users.#"
TOPIC = "v2.users.7.presence"


def status(source: str, filters: Sequence[str], *, takes: bool = True) -> IntegrationStatus:
    id_ = source.rsplit("/", 1)[-1]
    integration = Integration(id_, id_, "", "123456789012", "us-east-1", id_, tuple(filters), IntendedState.ENABLED)
    destination = Destination(integration.account_id, integration.region, source)
    return IntegrationStatus(integration, destination, State.ACTIVE, "", takes_events=takes, sends=takes)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.follow([status(CRM, [PRESENCE]), status(WFM, [ANY])], 100.0)
    return ledger


def detail(sequence: int) -> bytes:
    return b'{"eventBody":{"sequence":%d},"topicName":"t"}' % sequence


def test_each_integration_is_owed_what_its_filters_match(ledger: Ledger) -> None:
    ledger.publish(1, TOPIC, 100.0)
    ledger.publish(2, "v2.users.7.routingStatus", 100.1)
    ledger.publish(3, "v2.other", 100.2)
    assert ledger.missing() == {CRM: 1, WFM: 2}
    ledger.deliver([(WFM, detail(1)), (WFM, detail(2))])
    assert ledger.missing() == {CRM: 1}
    ledger.deliver([(CRM, detail(2))])
    assert ledger.missing() == {CRM: 1}, "another one was delivered"
    ledger.deliver([(CRM, detail(1)), (CRM, detail(1))])
    assert not ledger.missing()


@pytest.mark.parametrize("strange", [b"{}", b"no json", b'{"eventBody":{"sequence":"x"}}', b'{"eventBody":7}'])
def test_what_somebody_else_publishes_is_passed_over(ledger: Ledger, strange: bytes) -> None:
    ledger.publish(1, TOPIC, 100.0)
    ledger.deliver([(CRM, strange), (CRM, detail(1)), (WFM, detail(1))])
    assert not ledger.missing()


def test_before_the_first_look_nothing_is_owed() -> None:
    ledger = Ledger()
    ledger.publish(1, TOPIC, 100.0)
    assert not ledger.missing()


def test_a_change_excuses_what_it_may_have_met_and_no_more(ledger: Ledger) -> None:
    ledger.publish(1, TOPIC, 100.0)
    changed = 100.0 + GRACE + 1
    ledger.publish(2, TOPIC, changed - 0.5)
    ledger.follow([status(CRM, [ANY]), status(WFM, [ANY])], changed)
    ledger.publish(3, TOPIC, changed + 0.5)
    assert ledger.missing() == {CRM: 1, WFM: 3}
    ledger.publish(4, "v2.users.7.routingStatus", changed + GRACE)
    assert ledger.missing() == {CRM: 2, WFM: 4}


@pytest.mark.parametrize("left", [[status(WFM, [ANY])], [status(CRM, [PRESENCE], takes=False), status(WFM, [ANY])]])
def test_one_that_is_gone_or_takes_no_events_is_owed_nothing(ledger: Ledger, left: list[IntegrationStatus]) -> None:
    ledger.publish(1, TOPIC, 0.0)
    ledger.follow(left, 100.0)
    assert ledger.missing() == {WFM: 1}


def test_the_traffic_counts_itself(ledger: Ledger) -> None:
    for number, (topic, payload) in zip(range(50), notifications(seed=1), strict=False):
        ledger.publish(number, topic, 100.0)
        ledger.deliver([(CRM, payload), (WFM, payload)])
    assert not ledger.missing()
