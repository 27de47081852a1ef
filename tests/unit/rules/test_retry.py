"""The table of failures, row by row, and the pauses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import PutError
from forwarder.model import EntryResult, Reason, Verdict
from forwarder.rules.retry import (
    CALL_PAUSES,
    ENTRY_PAUSES,
    LONGEST_RETRY_AFTER,
    Accept,
    Backoff,
    Bury,
    Park,
    Pauses,
    Split,
    backoff,
    call_reason,
    decide_call,
    decide_entry,
    entry_verdict,
)


@pytest.mark.parametrize(
    ("code", "verdict", "decision"),
    [
        (None, Verdict.ACCEPTED, Accept()),
        ("", Verdict.ACCEPTED, Accept()),
        ("InternalFailure", Verdict.RETRYABLE, Park(Reason.ENTRY_INTERNAL)),
        ("InternalException", Verdict.RETRYABLE, Park(Reason.ENTRY_INTERNAL)),
        ("ThrottlingException", Verdict.RETRYABLE, Park(Reason.ENTRY_THROTTLED)),
        ("NobodyKnowsThisCode", Verdict.RETRYABLE, Park(Reason.ENTRY_INTERNAL)),
        ("AccessDeniedException", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("InvalidAccountIdException", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("InvalidArgument", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("MalformedDetail", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("RedactionFailure", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("NotAuthorizedForDetailTypeException", Verdict.PERMANENT, Bury(Reason.REFUSED)),
        ("NotAuthorizedForSourceException", Verdict.PERMANENT, Park(Reason.SOURCE_GONE)),
    ],
)
def test_an_entry(code: str | None, verdict: Verdict, decision: Accept | Park | Bury) -> None:
    assert entry_verdict(code) is verdict
    assert decide_entry(EntryResult(verdict, None, code)) == decision


def test_the_sinks_verdict_rules_over_a_code_that_is_not_eventbridges() -> None:
    assert decide_entry(EntryResult(Verdict.PERMANENT, None, "InternalFailure")) == Bury(Reason.REFUSED)
    assert decide_entry(EntryResult(Verdict.RETRYABLE, None, "MalformedDetail")) == Park(Reason.ENTRY_INTERNAL)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("ThrottlingException", 400, Reason.THROTTLED),
        ("TooManyRequestsException", 429, Reason.THROTTLED),
        ("LimitExceededException", 400, Reason.THROTTLED),
        ("HTTP429", 429, Reason.THROTTLED),
        ("InternalException", 500, Reason.SERVER_ERROR),
        ("InternalFailure", 500, Reason.SERVER_ERROR),
        ("ServiceUnavailable", 503, Reason.SERVER_ERROR),
        ("HTTP502", 502, Reason.SERVER_ERROR),
        ("ExpiredTokenException", 400, Reason.CREDENTIALS),
        ("UnrecognizedClientException", 400, Reason.CREDENTIALS),
        ("InvalidSignatureException", 400, Reason.CREDENTIALS),
        ("AccessDeniedException", 400, Reason.CREDENTIALS),
        ("MissingAuthenticationTokenException", 400, Reason.CREDENTIALS),
        ("HTTP403", 403, Reason.CREDENTIALS),
        ("RequestExpired", 400, Reason.CLOCK_SKEW),
        ("OperationDisabledException", 400, Reason.DISABLED_REGION),
        ("ValidationException", 400, Reason.REFUSED),
        ("SerializationException", 400, Reason.REFUSED),
        ("HTTP413", 413, Reason.REFUSED),
        ("UnknownOperationException", 404, Reason.BAD_ANSWER),
        ("ResourceNotFoundException", 400, Reason.BAD_ANSWER),
        ("HTTP302", 302, Reason.BAD_ANSWER),
        ("NobodyKnowsThisCode", 400, Reason.BAD_ANSWER),
    ],
)
def test_a_call(code: str, status: int, reason: Reason) -> None:
    assert call_reason(code, status) is reason


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.REFUSED])
@pytest.mark.parametrize("entries", [1, 20])
def test_no_trouble_of_a_destination_buries_anything(reason: Reason, entries: int) -> None:
    assert decide_call(PutError(reason, "X", "x", retry_after=3.0), entries) == Backoff(reason, 3.0)


def test_a_call_found_wrong_is_split_down_to_the_entry_to_blame() -> None:
    """Entry 13 of 20 spoils every call that it is in: all others get through, in few calls."""
    calls, delivered = 0, list[int]()

    def send(entries: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if 13 not in entries:
            delivered.extend(entries)
            return []
        decision = decide_call(PutError(Reason.REFUSED, "ValidationException", "x"), len(entries))
        if decision == Bury(Reason.REFUSED):
            return entries
        assert decision == Split()
        half = len(entries) // 2
        return send(entries[:half]) + send(entries[half:])

    assert send(list(range(20))) == [13]
    assert delivered == [n for n in range(20) if n != 13]
    assert calls <= 11


def test_what_the_service_asks_for_is_honoured_within_the_longest_wait() -> None:
    slow_down = PutError(Reason.THROTTLED, "X", "x", retry_after=86_400.0)
    assert decide_call(slow_down, 1) == Backoff(Reason.THROTTLED, LONGEST_RETRY_AFTER)
    assert decide_call(PutError(Reason.THROTTLED, "X", "x"), 1) == Backoff(Reason.THROTTLED, 0.0)


jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("pauses", [CALL_PAUSES, ENTRY_PAUSES])
@given(failures=st.integers(1, 10**6), jitter=jitters, at_least=st.floats(0, 30))
def test_a_pause_is_within_its_range(pauses: Pauses, failures: int, jitter: float, at_least: float) -> None:
    assert at_least <= backoff(failures, pauses, jitter=jitter, at_least=at_least) <= at_least + pauses.cap


@given(failures=st.integers(1, 100), jitter=jitters)
def test_pauses_never_shrink_with_more_failures(failures: int, jitter: float) -> None:
    now, next_time = (backoff(n, CALL_PAUSES, jitter=jitter) for n in (failures, failures + 1))
    assert now <= next_time


def test_a_destination_that_is_back_is_noticed_within_five_seconds() -> None:
    assert backoff(10**6, CALL_PAUSES, jitter=1 - 2**-53) <= 5.0


def test_the_range_doubles_from_base_to_cap_and_all_of_it_is_used() -> None:
    almost = 1 - 2**-53
    pauses = Pauses(base=0.2, cap=30.0)
    assert [round(backoff(n, pauses, jitter=almost), 6) for n in (1, 2, 3, 8, 9, 99)] == [
        0.2,
        0.4,
        0.8,
        25.6,
        30.0,
        30.0,
    ]
    assert backoff(9, pauses, jitter=0.0) == 0.0
