import msgspec
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import Problem
from forwarder.integrations.configuration import Configuration, changes, merge
from forwarder.integrations.directory import DirectoryState
from forwarder.integrations.env_file import IntegrationFile
from forwarder.model import Integration, IntendedState
from forwarder.rules.validation import MAX_INTEGRATIONS, SUFFIX_NOT_UNIQUE

ENABLED, DISABLED = IntendedState.ENABLED, IntendedState.DISABLED
BAD = None


def integration(
    integration_id: str, suffix: str, state: IntendedState = ENABLED, filters: tuple[str, ...] = ()
) -> Integration:
    return Integration(integration_id, "name", "", "123456789012", "us-east-1", suffix, filters, state)


def state_of(**files: Integration | None) -> DirectoryState:
    return DirectoryState(
        {
            name: IntegrationFile(f"{name}.env", version, (), {"EVENT_SOURCE_SUFFIX": 4})
            if version
            else IntegrationFile(f"{name}.env", None, (Problem("bad", f"{name}.env"),))
            for name, version in files.items()
        }
    )


def running(*integrations: Integration) -> Configuration:
    return Configuration({each.id: each for each in integrations})


A, B = integration("a", "x"), integration("b", "y")


def test_the_first_look_takes_what_is_good_and_tells_what_is_bad() -> None:
    assert merge(Configuration(), state_of(a=A, b=BAD)) == Configuration({"a": A}, {}, (Problem("bad", "b.env"),))


def test_a_change_of_one_leaves_the_others() -> None:
    changed = msgspec.structs.replace(A, topic_filters=("#",))
    assert merge(running(A, B), state_of(a=changed, b=B)).integrations == {"a": changed, "b": B}


def test_a_bad_file_leaves_the_last_good_version() -> None:
    after = merge(running(A, B), state_of(a=BAD, b=B))
    assert after.integrations == {"a": A, "b": B}
    assert after.problems == (Problem("bad", "a.env"),)


def test_a_vanished_file_takes_its_integration_out_until_a_good_one_is_back() -> None:
    after = merge(running(A, B), state_of(b=B))
    assert after == Configuration({"b": B}, {"a": A})
    assert merge(after, state_of(b=B)) == after
    assert merge(after, state_of(a=BAD, b=B)) == Configuration({"b": B}, {"a": A}, (Problem("bad", "a.env"),))
    assert merge(after, state_of(a=A, b=B)) == running(A, B)


def test_a_file_that_cannot_be_read_pauses_its_integration_as_if_it_were_gone() -> None:
    problem = Problem("the file cannot be read: Permission denied", "a.env")
    unreadable = IntegrationFile("a.env", None, (problem,), readable=False)
    after = merge(running(A, B), DirectoryState({"a": unreadable, "b": state_of(b=B).files["b"]}))
    assert after == Configuration({"b": B}, {"a": A}, (problem,))
    assert merge(after, state_of(a=A, b=B)) == running(A, B)


def test_a_directory_that_cannot_be_read_changes_nothing_and_tells_only_that() -> None:
    before = Configuration({"a": A}, {"b": B}, (Problem("old"),))
    trouble = Problem("the directory cannot be read")
    assert merge(before, DirectoryState(problem=trouble)) == Configuration({"a": A}, {"b": B}, (trouble,))


def test_a_file_with_an_impossible_name_is_told() -> None:
    stray = Problem("name", "x y.env")
    assert merge(Configuration(), DirectoryState({}, strays=(stray,))).problems == (stray,)


def test_a_suffix_taken_by_a_running_integration_is_refused_to_the_newcomer_whatever_its_id() -> None:
    for newcomer, incumbent in (("a", "z"), ("z", "a")):
        new, old = integration(newcomer, "x"), integration(incumbent, "x")
        after = merge(running(old), state_of(**{newcomer: new, incumbent: old}))
        assert after.integrations == {incumbent: old}
        (problem,) = after.problems
        assert str(problem) == f"{newcomer}.env:4: EVENT_SOURCE_SUFFIX: {SUFFIX_NOT_UNIQUE}: {incumbent} has it"


def test_a_running_integration_that_changes_to_a_taken_suffix_stays_as_it_was() -> None:
    after = merge(running(A, B), state_of(a=integration("a", "y", filters=("#",)), b=B))
    assert after.integrations == {"a": A, "b": B}
    assert [problem.source for problem in after.problems] == ["a.env"]


def test_among_newcomers_the_first_by_id_wins() -> None:
    after = merge(Configuration(), state_of(b=integration("b", "x"), a=A))
    assert after.integrations == {"a": A}


def test_a_disabled_integration_stands_in_nobodys_way_until_it_is_enabled() -> None:
    disabled = integration("b", "x", DISABLED)
    assert merge(running(A), state_of(a=A, b=disabled)).problems == ()
    after = merge(running(A, disabled), state_of(a=A, b=integration("b", "x")))
    assert after.integrations == {"a": A, "b": disabled}
    assert len(after.problems) == 1


def test_a_suffix_can_change_hands_in_one_look() -> None:
    swapped = state_of(a=integration("a", "y"), b=integration("b", "x"))
    after = merge(running(A, B), swapped)
    assert after.problems == ()
    assert [each.event_source_suffix for each in after.integrations.values()] == ["y", "x"]
    handed_on = merge(running(A), state_of(a=integration("a", "x", DISABLED), b=integration("b", "x")))
    assert handed_on.problems == ()


def test_one_who_is_put_back_takes_the_suffix_back_as_well() -> None:
    c = integration("c", "z")
    # a goes to c's suffix, which c keeps; so a keeps its own, and b, who wanted that, keeps its own too.
    after = merge(running(A, B, c), state_of(a=integration("a", "z"), b=integration("b", "x"), c=c))
    assert after.integrations == {"a": A, "b": B, "c": c}
    assert [problem.source for problem in after.problems] == ["a.env", "b.env"]


def test_there_are_at_most_ten_and_the_newcomer_is_one_too_many_whatever_its_id() -> None:
    ten = [integration(f"i{number}", f"s{number}", DISABLED) for number in range(MAX_INTEGRATIONS)]
    newcomer = integration("a", "new")
    after = merge(running(*ten), state_of(a=newcomer, **{each.id: each for each in ten}))
    assert after.integrations == {each.id: each for each in ten}
    assert str(after.problems[0]) == "a.env: there are already 10 integrations, the most there may be"
    fewer = merge(after, state_of(a=newcomer, **{each.id: each for each in ten[1:]}))
    assert "a" in fewer.integrations
    assert fewer.problems == ()


def test_of_eleven_at_once_the_first_ten_are_taken() -> None:
    eleven = {f"i{number:02}": integration(f"i{number:02}", f"s{number}") for number in range(MAX_INTEGRATIONS + 1)}
    after = merge(Configuration(), state_of(**eleven))
    assert list(after.integrations) == list(eleven)[:10]
    assert [problem.source for problem in after.problems] == ["i10.env"]


IDS = [f"i{number}" for number in range(MAX_INTEGRATIONS + 2)]
VERSIONS = st.none() | st.tuples(st.sampled_from("xyz"), st.sampled_from(IntendedState))
STATES = st.dictionaries(st.sampled_from(IDS), VERSIONS).map(
    lambda files: state_of(**{name: version and integration(name, *version) for name, version in files.items()})
)


@given(st.lists(STATES, max_size=5))
def test_whatever_happens_what_is_in_force_keeps_the_rules(states: list[DirectoryState]) -> None:
    configuration = Configuration()
    for state in states:
        before, configuration = configuration, merge(configuration, state)
        in_force = configuration.integrations
        suffixes = [each.event_source_suffix for each in in_force.values() if each.intended_state is ENABLED]
        assert len(suffixes) == len(set(suffixes))
        assert len(in_force) <= MAX_INTEGRATIONS
        # An integration in force whose file is there stays in force, in its old or its new version.
        assert before.integrations.keys() & state.files.keys() <= in_force.keys()
        for name, each in in_force.items():
            assert each in (state.files[name].integration, before.integrations.get(name))
        # All that is not as its file says is told, and the same look again changes nothing.
        told = {str(problem.source).removesuffix(".env") for problem in configuration.problems}
        for name, file in state.files.items():
            as_written = file.integration is not BAD and file.integration == in_force.get(name)
            assert as_written == (name not in told)
        assert merge(configuration, state).integrations == in_force


def test_changes_are_told_by_field() -> None:
    told = changes([A, B], [msgspec.structs.replace(A, name="n", region="r"), integration("c", "z")])
    assert told == {"a": ["name", "region"], "b": ["removed"], "c": ["added"]}
    assert changes([A], [A]) == {}
