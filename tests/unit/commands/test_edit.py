"""What `integrations set` makes of its options."""

import pytest

from forwarder.commands.integrations.model import Edit, View
from forwarder.errors import ConfigurationError
from forwarder.model import IntendedState
from forwarder.rules.validation import Key

NOW = View("crm", "CRM", "", "1", "us-east-1", "crm", ("a.b",), IntendedState.ENABLED, "aws.partner/x/crm", None, "")


def test_only_what_is_named_changes() -> None:
    assert Edit().values(["a.b"]) == {}
    assert Edit(name="", region="eu-west-1").values(["a.b"]) == {Key.NAME: "", Key.AWS_ACCOUNT_REGION: "eu-west-1"}


def test_filters_are_replaced_added_and_removed_in_order_and_once() -> None:
    assert Edit(topic_filters=()).values(["a.b"]) == {Key.EVENT_FILTER: ()}
    edit = Edit(add_filters=("x.y", "c.d"), remove_filters=("a.b",))
    assert edit.values(["a.b", "c.d", "e.f"]) == {Key.EVENT_FILTER: ("c.d", "e.f", "x.y")}


def test_every_filter_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Edit(remove_filters=("x", "a.b", "y")).values(["a.b"])
    assert [problem.message for problem in caught.value.problems] == ["there is no filter x", "there is no filter y"]
    assert caught.value.problems[0].hint == "its filters are: a.b"


@pytest.mark.parametrize("edit", [Edit(account_id="2"), Edit(region="x"), Edit(event_source_suffix="")])
def test_what_moves_the_event_source(edit: Edit) -> None:
    assert edit.moves(NOW)


@pytest.mark.parametrize(
    "edit", [Edit(), Edit(name="x", notes="y", topic_filters=()), Edit(None, None, "1", "us-east-1", "crm")]
)
def test_what_does_not(edit: Edit) -> None:
    assert not edit.moves(NOW)
