"""What becomes of an entry or a call that was not accepted, and how long to wait. Pure: randomness is passed in.

Nothing may be lost, so the rule for all that is not known here is to try again; only what the service is known to
refuse for good is given up. Codes: PutEvents and common errors in the EventBridge API reference, "Sending events with
PutEvents" (handling failures) in its user guide.
"""

import msgspec

from forwarder.errors import PutError
from forwarder.model import EntryResult, Reason, Verdict

THROTTLE_CODES = frozenset(
    {
        "LimitExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)
_REFUSED_ENTRY_CODES = frozenset(
    {
        "AccessDeniedException",
        "InvalidAccountIdException",
        "InvalidArgument",
        "MalformedDetail",
        "NotAuthorizedForDetailTypeException",
        "RedactionFailure",
    }
)
_SOURCE_GONE_CODE = "NotAuthorizedForSourceException"

_CALL_REASONS = {
    **dict.fromkeys(THROTTLE_CODES, Reason.THROTTLED),
    **dict.fromkeys(
        (
            "InternalException",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        ),
        Reason.SERVER_ERROR,
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Reason.CREDENTIALS,
    ),
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"), Reason.CLOCK_SKEW),
    "OperationDisabledException": Reason.DISABLED_REGION,
    # The call was read and found wrong: one of its entries is to blame.
    **dict.fromkeys(
        ("RequestEntityTooLargeException", "SerializationException", "ValidationError", "ValidationException"),
        Reason.REFUSED,
    ),
}


class Accept(msgspec.Struct, frozen=True):
    """The entry is delivered."""


class Park(msgspec.Struct, frozen=True):
    """Try this entry again by itself, after a pause."""

    reason: Reason


class Bury(msgspec.Struct, frozen=True):
    """Dead-letter what was asked about."""

    reason: Reason


class Backoff(msgspec.Struct, frozen=True):
    """The destination has trouble: move nothing, wait at least `at_least` seconds, make the same call again."""

    reason: Reason
    at_least: float


class Split(msgspec.Struct, frozen=True):
    """An entry of the call spoils it: send its two halves as calls of their own."""


def entry_verdict(code: str | None) -> Verdict:
    """What a per-entry error code of EventBridge means. No code: accepted. An unknown code: try again."""
    if not code:
        return Verdict.ACCEPTED
    permanent = code == _SOURCE_GONE_CODE or code in _REFUSED_ENTRY_CODES
    return Verdict.PERMANENT if permanent else Verdict.RETRYABLE


def call_reason(code: str, status: int) -> Reason:
    """What the error code and HTTP status of a call that failed as a whole mean. The code is the more exact."""
    if reason := _CALL_REASONS.get(code):
        return reason
    if status == 429:
        return Reason.THROTTLED
    if status == 413:
        return Reason.REFUSED
    if status in {401, 403}:
        return Reason.CREDENTIALS
    return Reason.SERVER_ERROR if status >= 500 else Reason.BAD_ANSWER


def decide_entry(result: EntryResult) -> Accept | Park | Bury:
    """What becomes of one entry of a call that went through.

    An entry for a source that is gone is kept: the source can be created again, and then the entry is good.
    """
    if result.verdict is Verdict.ACCEPTED:
        return Accept()
    if result.verdict is Verdict.PERMANENT:
        return Park(Reason.SOURCE_GONE) if result.error_code == _SOURCE_GONE_CODE else Bury(Reason.REFUSED)
    return Park(Reason.ENTRY_THROTTLED if result.error_code in THROTTLE_CODES else Reason.ENTRY_INTERNAL)


def decide_call(error: PutError, entries: int) -> Backoff | Split | Bury:
    """What becomes of a call with so many entries that failed as a whole.

    Only a call that was read and found wrong is taken apart, down to the one entry that is to blame. All other trouble
    is the destination's and passes, or is mended, while the log keeps everything.
    """
    if error.reason is not Reason.REFUSED:
        return Backoff(error.reason, min(error.retry_after or 0.0, LONGEST_RETRY_AFTER))
    return Split() if entries > 1 else Bury(Reason.REFUSED)


class Pauses(msgspec.Struct, frozen=True):
    """The range of a backoff, in seconds: up to `base` after the first failure, never over `cap`."""

    base: float
    cap: float


ENTRY_PAUSES = Pauses(base=1.0, cap=300.0)
"""For one entry that failed alone and is parked."""
CALL_PAUSES = Pauses(base=0.2, cap=5.0)
"""For a destination that has trouble: its lane waits. One call every few seconds is no load, and soon tells of its
return."""
LONGEST_RETRY_AFTER = 30.0
"""Seconds. What the service asks for beyond that is not waited for."""


def backoff(failures: int, pauses: Pauses, *, jitter: float, at_least: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row (1 or more), with full jitter.

    "Exponential Backoff And Jitter", AWS Architecture Blog: a random part, `jitter` in [0, 1), of base * 2^(n-1). What
    the service itself asked for comes on top, so that those it told the same do not all come back at once.
    """
    ceiling = min(pauses.cap, pauses.base * 2.0 ** min(failures - 1, 32))
    return at_least + jitter * ceiling
