"""Ids, versions and refusals: what is decided without a disk."""

from hypothesis import given
from hypothesis import strategies as st

from forwarder.api.changes import configuration_changes, differences, free_id
from forwarder.api.integration_files import version_of
from forwarder.api.models import Properties, UpdateConfiguration
from forwarder.integrations import env_file
from forwarder.integrations.directory import INTEGRATION_ID
from forwarder.integrations.regions import eventbridge_regions
from forwarder.ops.refusals import Fault, Refused
from forwarder.rules.validation import Rules

RULES = Rules(eventbridge_regions(), "aws.partner/example.com", "acme")
CRM = "NAME=x\nAWS_ACCOUNT_ID=123456789012\nINTENDED_STATE=DISABLED # or not\n"


def version(text: str | bytes) -> int:
    content = text.encode() if isinstance(text, str) else text
    return version_of(env_file.parse("crm", "crm.env", content, RULES), content)


def test_ids_follow_from_names() -> None:
    assert free_id("Sales CRM (Zürich)", ()) == "sales-crm-zurich"
    assert free_id("Sales", {"sales", "sales-2"}) == "sales-3"
    assert free_id("営業", ()) == "integration"


@given(st.text(max_size=300), st.sets(st.sampled_from(["a", "integration", "integration-2"])))
def test_an_id_can_always_be_a_files_name_and_is_free(name: str, taken: set[str]) -> None:
    found = free_id(name, taken)
    assert INTEGRATION_ID.fullmatch(found)
    assert found not in taken


def test_the_version_follows_the_text_but_for_the_intended_state() -> None:
    before = version(CRM)
    assert version(CRM.replace("DISABLED", "ENABLED")) == before
    for other in (CRM.replace("NAME=x", "NAME=y"), CRM + "# seen\n", CRM.replace("or not", "so"), CRM + "WRONG\n"):
        assert version(other) != before


@given(st.binary(max_size=200))
def test_every_content_has_a_version_that_any_client_can_hold(content: bytes) -> None:
    assert 1 <= version(content) < 1 << 31


def test_one_fault_gives_its_own_code_and_several_a_common_one() -> None:
    one = Fault("Invalid AWS Region", "properties.awsAccountRegion", "region", "did you mean us-east-1?")
    body = Refused(400, faults=[one]).body()
    assert (body.message, body.code, body.status) == ("Invalid AWS Region", "region", 400)
    assert body.details[0].message == "Invalid AWS Region (did you mean us-east-1?)"
    both = Refused(400, faults=[one, Fault("the name is empty", "name")]).body()
    assert (both.message, both.code) == ("Invalid AWS Region; the name is empty", "bad.request")
    assert [(each.message, each.details[0].field_name) for each in both.errors] == [
        ("Invalid AWS Region", "properties.awsAccountRegion"),
        ("the name is empty", "name"),
    ]
    assert {each.context_id for each in both.errors} == {both.context_id}


def update(**properties: object) -> UpdateConfiguration:
    return UpdateConfiguration("n", 1, Properties(**properties))  # type: ignore[arg-type]  # as the test says


@given(st.lists(st.text(max_size=20), max_size=5))
def test_filters_are_written_so_that_they_read_back(filters: list[str]) -> None:
    written = configuration_changes(update(event_filter=filters))["EVENT_FILTER"]
    assert env_file.parse_filter_list(written) == tuple(dict.fromkeys(filters))


def test_notes_that_are_not_given_stay() -> None:
    assert "NOTES" not in configuration_changes(update())
    assert configuration_changes(UpdateConfiguration("n", 1, Properties(), notes=""))["NOTES"] == ""


def test_what_means_the_same_is_no_difference() -> None:
    values = {"EVENT_FILTER": '["v2.a", "v2.b"]', "NAME": "x"}
    same = {"EVENT_FILTER": "v2.a, v2.b", "NAME": "x", "NOTES": "", "AWS_ACCOUNT_ID": ""}
    assert differences(values, same) == {}
    assert differences({}, {"NAME": env_file.DEFAULT_NAME, "INTENDED_STATE": "DISABLED"}) == {
        "INTENDED_STATE": "DISABLED"
    }
    assert differences(values, {"EVENT_FILTER": "v2.b, v2.a"}) == {"EVENT_FILTER": "v2.b, v2.a"}
    assert differences({"EVENT_FILTER": "[not json"}, {"EVENT_FILTER": "v2.a"}) == {"EVENT_FILTER": "v2.a"}
