"""Who may ask what, as a table."""

import pytest

from forwarder.ops.access import Access, Request


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
