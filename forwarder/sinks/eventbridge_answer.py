"""What the answer to a PutPartnerEvents call says. Pure.

Sources: the PutPartnerEvents page of the EventBridge API reference; the errors of the AWS JSON 1.1 protocol (Smithy,
"AWS JSON 1.1 protocol", operation error serialization).
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

import msgspec

from forwarder.errors import PutError
from forwarder.model import EntryResult, Reason, Verdict
from forwarder.rules.retry import call_reason, entry_verdict

MAX_CLOCK_SKEW_SECONDS = 300
"""A signature that is further off AWS's clock is refused ("Troubleshoot AWS SigV4 signing", IAM user guide)."""
_SIGNATURE_CODES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException"})
_CLOCK_WORDS = ("Signature expired", "Signature not yet current")
_MESSAGE_CHARACTERS = 300


class _ResultEntry(msgspec.Struct, frozen=True, rename="pascal"):
    event_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    failed_entry_count: int | None = None
    entries: tuple[_ResultEntry, ...] | None = None


class _Error(msgspec.Struct, frozen=True):
    type: str | None = msgspec.field(name="__type", default=None)
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)


_answers = msgspec.json.Decoder(_Answer)
_errors = msgspec.json.Decoder(_Error)


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, asked: int, now: float
) -> tuple[EntryResult, ...]:
    """One result for each of the `asked` entries, in order. `now` is our own clock in epoch seconds.

    Raises:
        PutError: the call failed, or the answer does not say what became of the entries (Reason.BAD_ANSWER).
    """
    if status != 200:
        raise _failure(status, headers, body, now)
    try:
        answer = _answers.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad_answer(f"the answer is not that of PutPartnerEvents ({error}): {_excerpt(body)}") from error
    failed, entries = answer.failed_entry_count, answer.entries or ()
    if failed == 0 and not entries:
        # Emulators that keep no event ids leave the list out when all went well.
        return (EntryResult(Verdict.ACCEPTED),) * asked
    if failed is None or len(entries) != asked:
        raise _bad_answer(f"the answer has {len(entries)} results for {asked} entries (FailedEntryCount {failed})")
    return tuple(_result(entry, failed) for entry in entries)


def _result(entry: _ResultEntry, failed: int) -> EntryResult:
    if entry.error_code:
        return EntryResult(entry_verdict(entry.error_code), None, entry.error_code, entry.error_message)
    if entry.event_id or not failed:
        return EntryResult(Verdict.ACCEPTED, entry.event_id)
    return EntryResult(Verdict.RETRYABLE, None, "NoResult", "the answer has neither an event id nor an error code")


def _failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> PutError:
    try:
        error = _errors.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = _Error(message=_excerpt(body))  # a proxy's page, or nothing
    code = _bare(error.type or headers.get("x-amzn-ErrorType") or "") or f"HTTP{status}"
    message = _first_line(error.message or error.capital_message or "") or f"HTTP status {status} without a message"
    reason = call_reason(code, status)
    skew = _skew(headers.get("Date"), now)
    if code in _SIGNATURE_CODES and (abs(skew or 0.0) > MAX_CLOCK_SKEW_SECONDS or message.startswith(_CLOCK_WORDS)):
        reason = Reason.CLOCK_SKEW
    if reason is Reason.CLOCK_SKEW:
        message = f"{_skew_sentence(skew)}; set it right, for instance by NTP ({message})"
    return PutError(reason, code, message, retry_after=_seconds(headers.get("Retry-After")))


def _bad_answer(message: str) -> PutError:
    return PutError(Reason.BAD_ANSWER, "BadAnswer", message)


def _bare(code: str) -> str:
    """`com.amazonaws.events#InternalException:http://...` is InternalException."""
    return code.rpartition("#")[2].partition(":")[0].strip()


def _first_line(message: str) -> str:
    """AWS's sentence. What follows it after a failed signature is the canonical request, session token included."""
    return message.strip().partition("\n")[0][:_MESSAGE_CHARACTERS]


def _excerpt(body: bytes) -> str:
    return _first_line(body[:_MESSAGE_CHARACTERS].decode("utf-8", "replace")) or "it is empty"


def _skew(date: str | None, now: float) -> float | None:
    """Seconds that our clock is ahead of the server's."""
    if not date:
        return None
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _skew_sentence(skew: float | None) -> str:
    if skew is None or abs(skew) <= MAX_CLOCK_SKEW_SECONDS:  # a proxy's date, not AWS's
        return "this machine's clock differs from AWS's by more than five minutes"
    return f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None
