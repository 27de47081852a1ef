"""Fault rules: what they decide, for whom, and that they repeat."""

from collections import Counter

import msgspec
import pytest

from forwarder.emulator.faults import CallError, Ending, EntryError, Fate, FaultRule, Faults, Operation

PUT = Operation.PUT
A, B = "aws.partner/example.com/a", "aws.partner/example.com/b"


def faults(*rules: FaultRule) -> Faults:
    result = Faults()
    for rule in rules:
        result.set(rule)
    return result


def fates(rule: FaultRule, count: int = 2000) -> list[Fate]:
    active = faults(rule)
    return [active.fate(PUT, "us-east-1", (A,)) for _ in range(count)]


def test_without_rules_nothing_happens() -> None:
    assert faults().fate(PUT, "us-east-1", (A,)) == Fate()
    assert faults().entry_fault("us-east-1", A) is None


def test_the_rates_are_shares_of_the_calls() -> None:
    rule = FaultRule(
        throttle_rate=0.1,
        errors=(CallError(code="ServiceUnavailable", rate=0.2), CallError(code="InternalException", rate=0.1)),
        reset_before_rate=0.1,
        reset_after_rate=0.1,
        hang_rate=0.1,
    )
    seen = Counter(fate.error.code if fate.error else fate.ending for fate in fates(rule))
    shares = {name: round(count / 2000, 1) for name, count in seen.items()}
    assert shares == {
        None: 0.3,
        "ThrottlingException": 0.1,
        "ServiceUnavailable": 0.2,
        "InternalException": 0.1,
        Ending.RESET_BEFORE: 0.1,
        Ending.RESET_AFTER: 0.1,
        Ending.HANG: 0.1,
    }


def test_the_same_seed_decides_the_same_and_another_one_otherwise() -> None:
    rule = FaultRule(throttle_rate=0.5, jitter_ms=10, seed=7)
    decided = [(fate.delay, fate.ending) for fate in fates(rule, 50)]
    assert decided == [(fate.delay, fate.ending) for fate in fates(rule, 50)]
    other = msgspec.structs.replace(rule, seed=8)
    assert decided != [(fate.delay, fate.ending) for fate in fates(other, 50)]


def test_latency_is_fixed_with_jitter_on_top() -> None:
    delays = [fate.delay for fate in fates(FaultRule(latency_ms=30, jitter_ms=20))]
    assert min(delays) >= 0.03
    assert max(delays) <= 0.05
    assert max(delays) - min(delays) > 0.015
    assert {fate.delay for fate in fates(FaultRule(latency_ms=30))} == {0.03}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CallError(code="InternalException", rate=1), 500),
        (CallError(code="ServiceUnavailable", rate=1), 503),
        (CallError(code="OperationDisabledException", rate=1), 400),
        (CallError(code="AccessDeniedException", rate=1, status=403), 403),
    ],
)
def test_the_status_is_aws_own_unless_it_is_said(error: CallError, status: int) -> None:
    assert error.error().status == status


def test_entry_errors_are_shares_of_the_entries() -> None:
    rule = FaultRule(entry_errors=(EntryError(code="InternalFailure", rate=0.1), EntryError(code="Other", rate=0.2)))
    active = faults(rule)
    seen = Counter(fault and fault[0] for fault in (active.entry_fault("us-east-1", A) for _ in range(2000)))
    assert {code: round(count / 2000, 1) for code, count in seen.items()} == {
        None: 0.7,
        "InternalFailure": 0.1,
        "Other": 0.2,
    }


def test_the_narrowest_rule_alone_decides() -> None:
    def rule(code: str, **scope: object) -> FaultRule:
        return msgspec.convert({"errors": [{"code": code, "rate": 1}], **scope}, FaultRule)

    active = faults(
        rule("Any"),
        rule("Region", region="us-east-1"),
        rule("Delete", operation="DeletePartnerEventSource"),
        rule("Source", source=A),
    )

    def code(operation: Operation, region: str, source: str) -> str | None:
        error = active.fate(operation, region, (source,)).error
        return error.code if error else None

    assert code(PUT, "eu-west-1", B) == "Any"
    assert code(PUT, "us-east-1", B) == "Region"
    assert code(Operation.DELETE, "us-east-1", B) == "Region"
    assert code(Operation.DELETE, "eu-west-1", B) == "Delete"
    assert code(PUT, "us-east-1", A) == "Source"


def test_a_source_rule_meets_calls_with_that_source_among_others_and_entries_of_it_alone() -> None:
    one = FaultRule(source=A, throttle_rate=1, entry_errors=(EntryError(code="InternalFailure", rate=1),))
    active = faults(one)
    assert active.fate(PUT, "us-east-1", {A, B}).error
    assert active.entry_fault("us-east-1", A)
    assert active.entry_fault("us-east-1", B) is None


def test_a_rule_replaces_the_one_of_its_scope_and_clear_drops_all() -> None:
    active = faults(FaultRule(region="us-east-1", throttle_rate=1), FaultRule(region="us-east-1", latency_ms=5))
    assert active.rules == (FaultRule(region="us-east-1", latency_ms=5),)
    active.clear()
    assert not active.rules


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"throttle_rate": 1.5}', "throttle_rate"),
        ('{"throttle_rate": "often"}', "throttle_rate"),
        ('{"latency_ms": -1}', "latency_ms"),
        ('{"latency": 1}', "unknown field `latency`"),
        ('{"errors": [{"code": "X"}]}', "rate"),
        ('{"errors": [{"code": "not a code", "rate": 1}]}', "code"),
        ('{"errors": [{"code": "X", "rate": 1, "status": 200}]}', "status"),
        ('{"operation": "PutEvents"}', "PutEvents"),
        ('{"throttle_rate": 0.6, "hang_rate": 0.6}', "add up to 1.2"),
        ('{"entry_errors": [{"code": "X", "rate": 0.7}, {"code": "Y", "rate": 0.7}]}', "add up to 1.4"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_bad_rule_says_what_is_wrong(body: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.json.decode(body, type=FaultRule)
