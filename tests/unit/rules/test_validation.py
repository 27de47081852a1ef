import msgspec
import pytest

from forwarder.model import Integration, IntendedState
from forwarder.rules.validation import Key, Rules, event_source_name, suffix_holder, validate

RULES = Rules(frozenset({"us-east-1", "eu-central-1"}), "aws.partner/genesys.com/cloud", "org-1")
VALID = Integration(
    id="crm",
    name="Amazon EventBridge Source",
    notes="",
    account_id="123456789012",
    region="us-east-1",
    event_source_suffix="crm-prod",
    topic_filters=("v2.users.{id}?presence&routingStatus", "#"),
    intended_state=IntendedState.ENABLED,
)


def changed(**fields: object) -> Integration:
    return msgspec.structs.replace(VALID, **fields)


def test_a_valid_integration_has_no_problems() -> None:
    assert validate(VALID, RULES) == []


def test_the_source_name_is_prefix_organization_and_suffix() -> None:
    assert event_source_name("aws.partner/genesys.com/cloud", "o", "s") == "aws.partner/genesys.com/cloud/o/s"


@pytest.mark.parametrize(
    "account", ["", "12345678901", "1234567890123", "12345678901x", " 123456789012", "\uff11" * 12]
)
def test_an_account_is_twelve_digits(account: str) -> None:
    (problem,) = validate(changed(account_id=account), RULES)
    assert (problem.message, problem.key) == ("Invalid AWS account ID", Key.AWS_ACCOUNT_ID)


@pytest.mark.parametrize(
    ("region", "hint"),
    [("us-east1", "did you mean us-east-1?"), ("US-EAST-1", "such as us-east-1"), ("", "such as us-east-1")],
)
def test_a_region_is_one_of_eventbridges(region: str, hint: str) -> None:
    (problem,) = validate(changed(region=region), RULES)
    assert (problem.message, problem.key) == ("Invalid AWS Region", Key.AWS_ACCOUNT_REGION)
    assert hint in str(problem.hint)


@pytest.mark.parametrize("suffix", ["a", "A.b_c-9", "x" * 64])
def test_good_suffixes(suffix: str) -> None:
    assert validate(changed(event_source_suffix=suffix), RULES) == []


@pytest.mark.parametrize("suffix", ["", "x" * 65, "crm/prod", "crm prod", "é", "crm\n"])
def test_bad_suffixes(suffix: str) -> None:
    (problem,) = validate(changed(event_source_suffix=suffix), RULES)
    assert (problem.message, problem.key) == ("Invalid event source suffix", Key.EVENT_SOURCE_SUFFIX)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(RULES.regions, "aws.partner/genesys.com/cloud", "o" * 250),
        Rules(RULES.regions, "aws.partner/genesys.com/cloud", "o o"),
        Rules(RULES.regions, "genesys.com/cloud", "o"),
    ],
)
def test_the_whole_source_name_must_be_one_that_eventbridge_takes(rules: Rules) -> None:
    (problem,) = validate(VALID, rules)
    assert "EventBridge does not take the event source name" in problem.message


@pytest.mark.parametrize(
    ("fields", "key", "fault"),
    [
        ({"name": ""}, Key.NAME, "empty"),
        ({"name": " "}, Key.NAME, "empty"),
        ({"name": "x" * 257}, Key.NAME, "at most 256"),
        ({"name": "two\nlines"}, Key.NAME, "'\\n' is not allowed"),
        ({"name": "\ud800"}, Key.NAME, "'\\ud800' is not allowed"),
        ({"notes": "x" * 4097}, Key.NOTES, "at most 4096"),
        ({"notes": "\x00"}, Key.NOTES, "'\\x00' is not allowed"),
        ({"topic_filters": ("a", "b..c")}, Key.EVENT_FILTER, "'b..c': it has an empty segment"),
    ],
)
def test_words_and_filters(fields: dict[str, object], key: Key, fault: str) -> None:
    (problem,) = validate(changed(**fields), RULES)
    assert problem.key == key
    assert fault in problem.message


def test_notes_may_have_several_lines() -> None:
    assert validate(changed(notes="one\n\ttwo\r\nthree 'four' \"five\" 六"), RULES) == []


def test_everything_wrong_is_told_at_once() -> None:
    bad = changed(name="", account_id="1", region="x", event_source_suffix="/", topic_filters=("a..b", "us*er"))
    keys = [problem.key for problem in validate(bad, RULES)]
    identity = [Key.AWS_ACCOUNT_ID, Key.AWS_ACCOUNT_REGION, Key.EVENT_SOURCE_SUFFIX]
    assert keys == [Key.NAME, *identity, Key.EVENT_FILTER, Key.EVENT_FILTER]


def test_a_disabled_integration_may_be_a_draft_but_what_is_there_must_be_right() -> None:
    draft = changed(account_id="", region="", event_source_suffix="", intended_state=IntendedState.DISABLED)
    assert validate(draft, RULES) == []
    bad = changed(account_id="1", region="x", event_source_suffix="/", intended_state=IntendedState.DISABLED)
    assert len(validate(bad, RULES)) == 3


def test_a_suffix_is_held_by_another_enabled_integration_only() -> None:
    same = changed(id="sales")
    disabled = changed(id="sales", intended_state=IntendedState.DISABLED)
    assert suffix_holder(VALID, [VALID, same]) == same
    assert suffix_holder(VALID, [VALID, disabled, changed(id="sales", event_source_suffix="Crm-Prod")]) is None
    assert suffix_holder(disabled, [VALID]) is None
