"""Who may ask what, as a table."""

import pytest

from forwarder.ops.access import FAILURES_AT_ONCE, FAILURES_PER_SECOND, MAX_PEERS, Access, FailureLimit, Request


def status(access: Access, **facts: str | None) -> int:
    defaults = {"method": "GET", "path": "/api/status", "peer": "127.0.0.1", "host": "localhost", "authorization": ""}
    denial = access.denial(Request(**{**defaults, **facts}))  # type: ignore[arg-type]  # only `peer` may be None
    return denial.status if denial else 200


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, 200),
        ({"peer": "127.8.8.8", "host": "127.0.0.1:8080"}, 200),
        ({"peer": "::1", "host": "[::1]:8080"}, 200),
        ({"peer": "::ffff:127.0.0.1"}, 200),
        ({"peer": "::ffff:10.0.0.1"}, 403),
        ({"peer": "10.0.0.1"}, 403),
        ({"peer": None}, 403),
        ({"host": "rebound.example"}, 403),
        ({"host": "localhost.rebound.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "LOCALHOST:1"}, 200),
        ({"method": "HEAD"}, 200),
        ({"method": "POST"}, 403),
        ({"path": "/"}, 200),
        ({"path": "/livez", "peer": "10.0.0.1", "host": "pod"}, 200),
        ({"path": "/livez", "method": "POST", "peer": "10.0.0.1"}, 403),
        ({"path": "/metrics/../api/status", "peer": "10.0.0.1"}, 403),
    ],
)
def test_without_tokens(facts: dict[str, str | None], expected: int) -> None:
    assert status(Access(None, None), **facts) == expected


@pytest.mark.parametrize(
    ("authorization", "reads", "writes"),
    [
        ("", 401, 401),
        ("Bearer ", 401, 401),
        ("Bearer admin", 200, 200),
        ("bearer  admin", 200, 200),
        ("Bearer viewer", 200, 403),
        ("Basic admin", 401, 401),
        ("Bearer admin2", 401, 401),
        ("Bearer \u00e4", 401, 401),
        ("Bearer \udcff", 401, 401),
    ],
)
def test_with_tokens(authorization: str, reads: int, writes: int) -> None:
    access = Access("admin", "viewer")
    assert status(access, authorization=authorization, peer="10.0.0.1", host="any") == reads
    assert status(access, authorization=authorization, method="DELETE") == writes


def test_a_token_that_is_not_set_lets_nobody_in() -> None:
    assert status(Access("admin", None), authorization="Bearer ") == 401
    assert status(Access(None, "viewer"), authorization="Bearer viewer", method="PUT") == 403
    assert status(Access(None, "viewer"), authorization="Bearer", method="PUT") == 401


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("", "forwarder.example", 200),
        ("https://forwarder.example", "forwarder.example", 200),
        ("http://localhost:8080", "LOCALHOST:8080", 200),
        ("http://localhost:8081", "localhost:8080", 403),
        ("https://evil.example", "forwarder.example", 403),
        ("null", "forwarder.example", 403),
        ("http://[", "forwarder.example", 403),
    ],
)
def test_a_page_of_another_origin_is_refused_even_with_a_token(origin: str, host: str, expected: int) -> None:
    facts = {"authorization": "Bearer admin", "origin": origin, "host": host}
    for method in ("GET", "POST"):
        assert status(Access("admin", None), method=method, **facts) == expected


def test_open_paths_are_open_for_reading_alone() -> None:
    access = Access("admin", None, open_paths={"/"})
    assert [status(access, path="/", method=method) for method in ("GET", "HEAD", "POST")] == [200, 200, 401]
    assert status(access, path="/api/status") == 401


def test_wrong_tokens_are_limited_by_address_and_forgiven_in_time() -> None:
    limit = FailureLimit()
    for _ in range(FAILURES_AT_ONCE):
        assert limit.wait("10.0.0.1", 0.0) == 0
        limit.note("10.0.0.1", 0.0)
    wait = limit.wait("10.0.0.1", 0.0)
    assert wait == pytest.approx(1 / FAILURES_PER_SECOND)
    assert limit.wait("10.0.0.2", 0.0) == 0
    assert limit.wait("10.0.0.1", wait) == 0
    limit.note("10.0.0.1", wait)
    assert limit.wait("10.0.0.1", wait) > 0


def test_one_machine_has_a_whole_network_of_ipv6_addresses() -> None:
    limit = FailureLimit()
    for number in range(FAILURES_AT_ONCE):
        limit.note(f"2001:db8::{number}", 0.0)
    assert limit.wait("2001:db8::ffff", 0.0) > 0
    assert limit.wait("2001:db8:0:1::1", 0.0) == 0


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    limit = FailureLimit()
    for number in range(MAX_PEERS + 5):
        limit.note(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(limit._spent) == MAX_PEERS
    limit.note(None, 0.0)
    assert limit.wait("not an address", 0.0) == 0
