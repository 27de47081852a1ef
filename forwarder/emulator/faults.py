"""Trouble on order: rules that make calls slow, fail, hang or lose their connection, by region, source and operation.

A rule is a value and every decision is drawn from its own seeded generator, so that the same calls in the same order
meet the same faults.
"""

import random
from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Annotated

import msgspec

from forwarder.emulator.entries import Fault
from forwarder.emulator.wire import ApiError

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=600_000)]
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{1,64}$")]

MAX_RULES = 1000
_STATUS = {"InternalException": 500, "InternalFailure": 500, "ServiceUnavailable": 503}


class Operation(StrEnum):
    """The operations that a rule can be for."""

    CREATE = "CreatePartnerEventSource"
    DELETE = "DeletePartnerEventSource"
    DESCRIBE = "DescribePartnerEventSource"
    LIST = "ListPartnerEventSources"
    LIST_ACCOUNTS = "ListPartnerEventSourceAccounts"
    PUT = "PutPartnerEvents"


class Ending(StrEnum):
    """How a call ends that the service does not answer in order."""

    ERROR = "error"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    HANG = "hang"


class CallError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A share of calls refused as a whole. `status` defaults to what AWS sends with the code, else 400."""

    code: Code
    rate: Rate
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    message: str = "Injected by the emulator."

    def error(self) -> ApiError:
        """The answer."""
        return ApiError(self.code, self.message, self.status or _STATUS.get(self.code, 400))


class EntryError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A share of entries that fail alone, in a call that succeeds."""

    code: Code
    rate: Rate
    message: str = "Injected by the emulator."


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes wrong, and where: `region`, `source` and `operation` narrow it, None is any.

    A call waits `latency_ms` and up to `jitter_ms` more, evenly spread. Then it ends badly in at most one way, so that
    all its rates together are at most 1; so are those of `entry_errors`, which fail single entries of a good call.
    """

    region: str | None = None
    source: str | None = None
    operation: Operation | None = None
    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    throttle_rate: Rate = 0
    errors: tuple[CallError, ...] = ()
    entry_errors: tuple[EntryError, ...] = ()
    reset_before_rate: Rate = 0
    reset_after_rate: Rate = 0
    hang_rate: Rate = 0
    seed: int = 0

    def __post_init__(self) -> None:
        calls = sum(rate for rate, _, _ in self.endings())
        entries = sum(error.rate for error in self.entry_errors)
        for what, rates in (("throttle_rate, errors, reset and hang rates", calls), ("entry_errors' rates", entries)):
            if rates > 1 + 1e-9:
                raise ValueError(f"{what} add up to {rates:g}: at most 1 is possible")

    @property
    def scope(self) -> tuple[bool, bool, bool]:
        """How narrow the rule is; the greater, the narrower."""
        return (self.source is not None, self.region is not None, self.operation is not None)

    def endings(self) -> Iterator[tuple[float, Ending, ApiError | None]]:
        """All bad endings with their rates."""
        yield self.throttle_rate, Ending.ERROR, ApiError("ThrottlingException", "Rate exceeded")
        for error in self.errors:
            yield error.rate, Ending.ERROR, error.error()
        yield self.reset_before_rate, Ending.RESET_BEFORE, None
        yield self.reset_after_rate, Ending.RESET_AFTER, None
        yield self.hang_rate, Ending.HANG, None


class Fate(msgspec.Struct, frozen=True):
    """What is decided for one call: seconds to wait, and the bad ending, if any."""

    delay: float = 0
    ending: Ending | None = None
    error: ApiError | None = None


NO_FAULT = Fate()


class _ActiveRule:
    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.random = random.Random(rule.seed)  # noqa: S311  (faults must repeat; nothing here is a secret)

    def matches(self, operation: str, region: str, sources: Collection[str]) -> bool:
        rule = self.rule
        return (
            rule.operation in (None, operation)
            and rule.region in (None, region)
            and (rule.source is None or rule.source in sources)
        )

    def fate(self) -> Fate:
        delay = (self.rule.latency_ms + self.random.random() * self.rule.jitter_ms) / 1000
        drawn = self.random.random()
        for rate, ending, error in self.rule.endings():
            if drawn < rate:
                return Fate(delay, ending, error)
            drawn -= rate
        return Fate(delay)

    def entry_fault(self) -> Fault | None:
        drawn = self.random.random()
        for error in self.rule.entry_errors:
            if drawn < error.rate:
                return error.code, error.message
            drawn -= error.rate
        return None


class Faults:
    """The rules in force, one for each scope. The narrowest rule that fits a call, or an entry, alone decides on it: by
    source before region before operation."""

    def __init__(self) -> None:
        self._active: list[_ActiveRule] = []

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """The rules in force, narrowest first."""
        return tuple(active.rule for active in self._active)

    def set(self, rule: FaultRule) -> None:
        """Put a rule in force from its seed on, in the place of the one with the same scope.

        Raises:
            ValueError: there are too many rules.
        """
        scope = (rule.region, rule.source, rule.operation)
        others = [a for a in self._active if (a.rule.region, a.rule.source, a.rule.operation) != scope]
        if len(others) >= MAX_RULES:
            raise ValueError(f"there are {MAX_RULES} rules already: clear them with DELETE")
        self._active = sorted([*others, _ActiveRule(rule)], key=lambda active: active.rule.scope, reverse=True)

    def clear(self) -> None:
        """Drop all rules."""
        self._active = []

    def fate(self, operation: str, region: str, sources: Collection[str]) -> Fate:
        """Decide on one call about these sources."""
        active = self._narrowest(operation, region, sources)
        return active.fate() if active else NO_FAULT

    def entry_fault(self, region: str, source: str) -> Fault | None:
        """Decide on one entry of a PutPartnerEvents call that is in order."""
        active = self._narrowest(Operation.PUT, region, (source,))
        return active.entry_fault() if active else None

    def _narrowest(self, operation: str, region: str, sources: Collection[str]) -> _ActiveRule | None:
        return next((active for active in self._active if active.matches(operation, region, sources)), None)
