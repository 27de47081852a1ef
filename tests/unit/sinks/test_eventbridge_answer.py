"""What every answer of PutPartnerEvents is taken for."""

import json
from email.utils import formatdate

import pytest

from forwarder.errors import PutError
from forwarder.model import EntryResult, Reason, Verdict
from forwarder.sinks.eventbridge_answer import read_answer

NOW = 1_774_055_395.0
OK = EntryResult(Verdict.ACCEPTED)


def results(answer: object, asked: int) -> tuple[EntryResult, ...]:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_answer(200, {}, body, asked=asked, now=NOW)


def failure(status: int, body: object, **headers: str) -> PutError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(PutError) as caught:
        read_answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, raw, asked=1, now=NOW)
    return caught.value


def test_results_keep_the_order_of_the_entries() -> None:
    entries = [{"EventId": "a"}, {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}, {"EventId": "c"}]
    assert results({"FailedEntryCount": 1, "Entries": entries}, 3) == (
        EntryResult(Verdict.ACCEPTED, "a"),
        EntryResult(Verdict.RETRYABLE, None, "ThrottlingException", "slow"),
        EntryResult(Verdict.ACCEPTED, "c"),
    )


@pytest.mark.parametrize("answer", [{"FailedEntryCount": 0, "Entries": []}, {"FailedEntryCount": 0}])
def test_no_failures_and_no_list_means_all_accepted(answer: object) -> None:
    assert results(answer, 3) == (OK, OK, OK)


def test_a_result_that_says_nothing_counts_by_the_failures_of_the_call() -> None:
    assert results({"FailedEntryCount": 0, "Entries": [{}, {}]}, 2) == (OK, OK)
    unclear, fine = results({"FailedEntryCount": 1, "Entries": [{}, {"EventId": "b"}]}, 2)
    assert unclear.verdict is Verdict.RETRYABLE
    assert fine.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "answer",
    [
        {"FailedEntryCount": 0, "Entries": [{"EventId": "a"}]},
        {"FailedEntryCount": 0, "Entries": [{"EventId": "a"}] * 3},
        {"FailedEntryCount": 2, "Entries": []},
        {"Entries": []},
        {},
        {"FailedEntryCount": "none"},
        {"FailedEntryCount": 0, "Entries": [{"EventId": 1}, {}]},
        [],
        b"",
        b'{"FailedEntryCount":0,"Entr',
        b"<html>Welcome</html>",
        b'{"FailedEntryCount":0,"Entries":[{"EventId":"\xff"}]}',
    ],
)
def test_any_other_answer_says_nothing_of_the_entries(answer: object) -> None:
    with pytest.raises(PutError) as caught:
        results(answer, 2)
    assert caught.value.reason is Reason.BAD_ANSWER


@pytest.mark.parametrize(
    "body",
    [
        {"__type": "ThrottlingException", "message": "Rate exceeded"},
        {"__type": "com.amazonaws.events#ThrottlingException", "Message": "Rate exceeded"},
        {"__type": "com.amazonaws.events#ThrottlingException:http://internal.amazon.com/", "message": "Rate exceeded"},
    ],
)
def test_the_code_is_found_in_every_form_of_the_protocol(body: object) -> None:
    error = failure(400, body)
    assert (error.reason, error.code, error.message) == (Reason.THROTTLED, "ThrottlingException", "Rate exceeded")


def test_the_code_may_be_in_the_header_alone() -> None:
    assert failure(400, b"", x_amzn_ErrorType="InternalException:http://x/").reason is Reason.SERVER_ERROR


def test_a_proxys_page_is_told_by_its_status_and_first_line() -> None:
    error = failure(503, b"<h1>upstream down</h1>\n<p>more</p>")
    assert (error.reason, error.code, error.message) == (Reason.SERVER_ERROR, "HTTP503", "<h1>upstream down</h1>")


def test_a_signature_error_does_not_carry_the_canonical_request_on() -> None:
    text = "The request signature does not match.\n\nThe Canonical String should have been\nx-amz-security-token:SECRET"
    error = failure(403, {"__type": "InvalidSignatureException", "message": text})
    assert error.reason is Reason.CREDENTIALS
    assert "SECRET" not in str(error)


@pytest.mark.parametrize(("given", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-1", None), ("nan", None), ("soon", None)])
def test_retry_after_is_read_where_it_is_a_number_of_seconds(given: str, seconds: float | None) -> None:
    assert failure(503, b"", Retry_After=given).retry_after == seconds


def test_a_refused_signature_beside_a_wrong_clock_is_the_clocks_fault() -> None:
    body = {"__type": "InvalidSignatureException", "message": "The request signature does not match."}
    ahead = failure(403, body, Date=formatdate(NOW - 400, usegmt=True))
    assert ahead.reason is Reason.CLOCK_SKEW
    assert "clock is 400 s ahead of AWS's" in ahead.message
    assert failure(403, body, Date=formatdate(NOW - 200, usegmt=True)).reason is Reason.CREDENTIALS
    assert failure(403, body, Date="yesterday").reason is Reason.CREDENTIALS


@pytest.mark.parametrize("message", ["Signature expired: 1 is now earlier than 2", "Signature not yet current: 1"])
def test_a_signature_that_aws_calls_expired_is_the_clocks_fault_without_a_date(message: str) -> None:
    error = failure(403, {"__type": "InvalidSignatureException", "message": message})
    assert error.reason is Reason.CLOCK_SKEW
    assert "more than five minutes" in error.message


def test_behind_is_told_from_ahead() -> None:
    error = failure(400, {"__type": "RequestExpired"}, Date=formatdate(NOW + 3600, usegmt=True))
    assert error.reason is Reason.CLOCK_SKEW
    assert "clock is 3600 s behind AWS's" in error.message
