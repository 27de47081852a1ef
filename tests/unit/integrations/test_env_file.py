import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import Problem
from forwarder.integrations.env_file import IntegrationFile, parse, parse_filter_list, render, update, values_of
from forwarder.model import Integration, IntendedState
from forwarder.rules.validation import Key, Rules

RULES = Rules(frozenset({"us-east-1"}), "aws.partner/genesys.com/cloud", "org-1")
GOOD = """\
# The CRM's production account.
NAME="Amazon EventBridge Source"
NOTES=""

AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1    # where the bus is
EVENT_SOURCE_SUFFIX=crm-prod
EVENT_FILTER=v2.users.{id}.presence, v2.users.{id}.routingStatus     # comma
INTENDED_STATE=ENABLED                                               # ENABLED | DISABLED
"""

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")) | st.sampled_from("\"'\\#$ ={}`"),
    max_size=30,
)
FILTERS = st.sampled_from(["#", "a.{id}", "a.#", "b?c&d", "a$b", "é.'x\"\\n"])
INTEGRATIONS = st.builds(
    Integration,
    id=st.just("crm"),
    name=TEXTS.filter(str.strip),
    notes=st.lists(TEXTS, max_size=3).map("\n".join) | st.lists(TEXTS, max_size=3).map("\r\n\t".join),
    account_id=st.just("123456789012"),
    region=st.just("us-east-1"),
    event_source_suffix=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    topic_filters=st.lists(FILTERS, unique=True).map(tuple),
    intended_state=st.sampled_from(IntendedState),
)


def read(text: str | bytes) -> IntegrationFile:
    return parse("crm", "crm.env", text if isinstance(text, bytes) else text.encode(), RULES)


def problems_of(text: str | bytes) -> list[Problem]:
    file = read(text)
    assert file.integration is None
    assert all(problem.source == "crm.env" for problem in file.problems)
    return list(file.problems)


def test_a_good_file() -> None:
    file = read(GOOD)
    assert file.problems == ()
    assert file.lines == {
        "NAME": 2,
        "NOTES": 3,
        "AWS_ACCOUNT_ID": 5,
        "AWS_ACCOUNT_REGION": 6,
        "EVENT_SOURCE_SUFFIX": 7,
        "EVENT_FILTER": 8,
        "INTENDED_STATE": 9,
    }
    assert file.integration == Integration(
        id="crm",
        name="Amazon EventBridge Source",
        notes="",
        account_id="123456789012",
        region="us-east-1",
        event_source_suffix="crm-prod",
        topic_filters=("v2.users.{id}.presence", "v2.users.{id}.routingStatus"),
        intended_state=IntendedState.ENABLED,
    )


@pytest.mark.parametrize(
    "text", [GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, GOOD.replace("\nAWS", "\nexport AWS"), GOOD.rstrip()]
)
def test_what_editors_of_other_systems_write(text: str) -> None:
    assert read(text).integration == read(GOOD).integration


def test_name_notes_and_filters_have_defaults() -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(("NAME", "NOTES", "EVENT_FILTER"))]
    integration = read("\n".join(lines)).integration
    assert integration is not None
    assert (integration.name, integration.notes, integration.topic_filters) == ("Amazon EventBridge Source", "", ())


def test_a_disabled_integration_may_be_a_draft() -> None:
    assert read("INTENDED_STATE=DISABLED").integration is not None


@pytest.mark.parametrize(
    ("value", "filters"),
    [
        ("a,b", ("a", "b")),
        ("a b", ("a", "b")),
        ("'\na\n  b,\n'", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("'[\n \"a\"\n]'", ("a",)),
        ("[]", ()),
        ("", ()),
        ("a, b, a", ("a", "b")),
        ("v2.users.#", ("v2.users.#",)),
        ("#", ("#",)),
        (" # nothing is sent", ()),
        ('"a, #"', ("a", "#")),
    ],
)
def test_the_ways_to_write_filters(value: str, filters: tuple[str, ...]) -> None:
    integration = read(
        GOOD.split("EVENT_FILTER", maxsplit=1)[0] + f"EVENT_FILTER={value}\nINTENDED_STATE=ENABLED\n"
    ).integration
    assert integration is not None
    assert integration.topic_filters == filters


@pytest.mark.parametrize("value", ['["a"', "[1]", '["a"] b', "[[" * 1000])
def test_what_begins_as_a_list_must_be_one(value: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expected|trailing|truncated"):
        parse_filter_list(value)
    (problem,) = problems_of(GOOD.replace("v2.users.{id}.presence, v2.users.{id}.routingStatus", value))
    assert (problem.key, problem.line) == ("EVENT_FILTER", 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "EVENT_FILTERS=x\n", "crm.env:10: EVENT_FILTERS: unknown key (did you mean EVENT_FILTER?)"),
        (GOOD + "\n\nname=x\n", "crm.env:12: name: unknown key (the keys are NAME, NOTES, "),
        (GOOD + "NAME=x\n", "crm.env:10: NAME: the key is given twice, first in line 2"),
        (GOOD + 'NOTES "x"\n', "crm.env:10: the line is not KEY=VALUE"),
        (GOOD.replace('NAME="', "NAME='"), "crm.env:2: the line is not KEY=VALUE (is a quotation mark left open?)"),
        (GOOD.replace("=123456789012", "=1234"), "crm.env:5: AWS_ACCOUNT_ID: Invalid AWS account ID ("),
        (GOOD.replace("=us-east-1", "=us-west-1"), "crm.env:6: AWS_ACCOUNT_REGION: Invalid AWS Region ("),
        (GOOD.replace("AWS_ACCOUNT_ID=123456789012", ""), "crm.env: AWS_ACCOUNT_ID: the key is missing"),
        (GOOD.replace("123456789012", ""), "crm.env:5: AWS_ACCOUNT_ID: Invalid AWS account ID ("),
        (GOOD.replace("INTENDED_STATE", "# "), "crm.env: INTENDED_STATE: the key is missing (it is ENABLED or "),
        (GOOD.replace("=ENABLED ", "=enabled "), "crm.env:9: INTENDED_STATE: 'enabled' is no state (it is ENABLED or"),
        (GOOD.replace("{id}.presence", "us*er"), "crm.env:8: EVENT_FILTER: topic filter 'v2.users.us*er': a wildcard"),
        (GOOD.replace('NOTES=""', "NOTES"), "crm.env:3: NOTES: the key has no '=' (write NOTES=…)"),
        (GOOD.encode() + b"# \xff\n", "crm.env:10: the file is not UTF-8 text"),
        (GOOD + "#" + " " * 1000, "crm.env:10: a thousand spaces in a row"),
    ],
)
def test_each_fault_is_told_with_file_line_and_key(text: str | bytes, told: str) -> None:
    (problem,) = problems_of(text)
    assert str(problem).startswith(told)


def test_all_faults_are_told_at_once_in_the_order_of_their_lines() -> None:
    problems = problems_of("NAME=\nWHAT=1\nEVENT_FILTER=a..b, [c\n\nNAME=x\nAWS_ACCOUNT_ID=1\n'\n")
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "NAME"),
        (2, "WHAT"),
        (3, "EVENT_FILTER"),
        (5, "NAME"),
        (6, "AWS_ACCOUNT_ID"),
        (7, None),
        (None, "INTENDED_STATE"),
        (None, "AWS_ACCOUNT_REGION"),
        (None, "EVENT_SOURCE_SUFFIX"),
    ]


@given(st.binary() | st.text(alphabet="NAMEOTS='\"\\# \n\r\t$", max_size=60).map(str.encode))
def test_any_bytes_give_an_integration_or_problems(content: bytes) -> None:
    file = read(content)
    assert (file.integration is None) == bool(file.problems)


@given(INTEGRATIONS)
def test_what_is_rendered_reads_back(integration: Integration) -> None:
    assert read(render(integration)) == IntegrationFile(
        "crm.env", integration, (), {key: number for number, key in enumerate(Key, start=1)}, values_of(integration)
    )


@given(INTEGRATIONS, INTEGRATIONS)
def test_an_updated_file_reads_as_the_change(before: Integration, after: Integration) -> None:
    assert read(update(render(before), values_of(after))).integration == after


@given(INTEGRATIONS)
@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, ""])
def test_an_updated_file_keeps_its_comments_and_order(text: str, after: Integration) -> None:
    updated = update(text, values_of(after))
    assert read(updated).integration == after
    assert [part for part in COMMENTS if part in text] == [part for part in COMMENTS if part in updated]
    assert updated.startswith("\ufeff") == text.startswith("\ufeff")
    assert ("\r\n" in updated) == ("\r\n" in text)
    assert update(updated, {}) == updated


COMMENTS = ["# The CRM's production account.", "    # where the bus is", "     # comma", "   # ENABLED | DISABLED"]


@pytest.mark.parametrize(
    ("line", "updated"),
    [
        ("NAME=old", "NAME=new"),
        ("  export NAME = 'o#d' # why", "  export NAME = new # why"),
        ('NAME="a\\"b\nc"\t# why\n', "NAME=new\t# why\n"),
        ("NAME=o#d  x  # why\r\n", "NAME=new  # why\r\n"),
        ("NAME= # why\n", "NAME= new # why\n"),
        ("NAME=# all of it\n", "NAME=new\n"),
        ("NAME=\n", "NAME=new\n"),
        ("\n\n'NAME'=x\n", "\n\n'NAME'=new\n"),
        ("# NAME=x\n", "# NAME=x\nNAME=new\n"),
        ("NOTES=x", "NOTES=x\nNAME=new\n"),
        ("", "NAME=new\n"),
    ],
)
def test_an_update_replaces_the_value_alone(line: str, updated: str) -> None:
    assert update(line, {"NAME": "new"}) == updated


def test_an_update_leaves_lines_it_does_not_understand() -> None:
    text = 'what is this\nNAME=x\nUNKNOWN=1\n"\n'
    assert update(text, {"NAME": "y z"}) == text.replace("=x", '="y z"')


def test_values_are_named_by_the_keys_of_the_file() -> None:
    integration = read(GOOD).integration
    assert integration is not None
    assert list(values_of(integration)) == list(Key)
    assert msgspec.structs.asdict(integration).keys() == {"id", "name", "notes", "account_id", "region"} | {
        "event_source_suffix",
        "topic_filters",
        "intended_state",
    }
