"""Dead letters over HTTP: seen, sent again, deleted."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from forwarder.spool.base import LaneBooks
from tests.integration.api.conftest import CRM, Rig, until

PATH = "/api/dead-letters"


def books(rig: Rig, id_: str) -> LaneBooks:
    return rig.daemon.books.lanes[id_]


async def dead(rig: Rig, *topics: str, refusal: str = "MalformedDetail") -> None:
    """Have these notifications refused for good."""
    for id_ in ("crm", "audit"):
        await rig.put_file(
            id_, CRM.replace("SUFFIX=crm", f"SUFFIX={id_}").replace("v2.users.{id}.presence", f"v2.{id_}.#")
        )
        await rig.state(id_, "ACTIVE")
    rig.sink.refusal = refusal
    await rig.publish(*topics)
    lanes = rig.daemon.books.lanes
    await until(lambda: sum(sum(each.dead_lettered.values()) for each in lanes.values()) == len(topics), "all are dead")
    rig.sink.refusal = None


async def ids(rig: Rig, **query: str) -> list[int]:
    return [each["id"] for each in (await rig.get(PATH, **query))["dead_letters"]]


async def change(rig: Rig, what: str, body: Any) -> tuple[int, Any]:
    return await rig.ask("POST", f"{PATH}/{what}", body)


async def test_one_is_shown_whole(rig: Rig) -> None:
    await dead(rig, "v2.crm.1")
    page = await rig.get(PATH)
    (letter,) = page["dead_letters"]
    assert page["next_after"] is None
    assert (letter["integration"], letter["reason"], letter["code"], letter["message"]) == (
        "crm",
        "refused",
        "MalformedDetail",
        "no",
    )
    event = letter["event"]
    assert (event["topic"], event["detail_type"]) == ("v2.crm.1", "v2.crm.1")
    assert event["detail"].startswith('{"topicName":"v2.crm.1"')
    assert letter["dead_at"] >= event["received_at"]


async def test_filters_and_pages(rig: Rig) -> None:
    await dead(rig, "v2.crm.1", "v2.audit.1", "v2.crm.2")
    every = await ids(rig)
    assert len(every) == 3
    crm = await ids(rig, integration="crm")
    assert (len(crm), set(crm) < set(every)) == (2, True)
    assert await ids(rig, reason="oversize") == []
    assert await ids(rig, older_than="3600") == []
    assert await ids(rig, ids=f"{every[0]},{every[2]},999") == [every[0], every[2]]
    page = await rig.get(PATH, limit="2")
    assert ([each["id"] for each in page["dead_letters"]], page["next_after"]) == (every[:2], every[1])
    assert await ids(rig, after=str(every[1])) == every[2:]


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"reason": "bad luck"}, {"ids": "x"}, {"older_than": "-1"}, {"after": "x"}]
)
async def test_a_wrong_query_names_its_parameter(rig: Rig, query: dict[str, str]) -> None:
    status, error = await rig.ask("GET", PATH, params=query)
    assert (status, [each["fieldName"] for each in error["details"]]) == (400, list(query))


async def test_redriven_ones_are_delivered_and_the_books_balance(rig: Rig) -> None:
    await dead(rig, "v2.crm.1", "v2.audit.1")
    assert await change(rig, "redrive", {"integration": "crm", "dry_run": True}) == (
        200,
        {"redriven": 1, "dry_run": True},
    )
    assert rig.sink.delivered == []
    assert await change(rig, "redrive", {"integration": "crm"}) == (200, {"redriven": 1, "dry_run": False})
    ((_, delivery),) = await rig.deliveries(1)
    assert delivery.notification.topic == "v2.crm.1"
    await until(lambda: books(rig, "crm").pending == 0, "it is booked")
    assert (books(rig, "crm").matched, books(rig, "crm").delivered) == (2, 1)
    assert len(await ids(rig)) == 1


async def test_purged_ones_are_gone(rig: Rig) -> None:
    await dead(rig, "v2.crm.1", "v2.crm.2", "v2.audit.1")
    first, *_ = await ids(rig)
    assert (await change(rig, "purge", {"all": True, "dry_run": True}))[1] == {"purged": 3, "dry_run": True}
    with capture_logs() as logged:
        assert (await change(rig, "purge", {"ids": [first]}))[1] == {"purged": 1, "dry_run": False}
        assert (await change(rig, "purge", {"all": True}))[1] == {"purged": 2, "dry_run": False}
    assert await ids(rig) == []
    audit = [(each["who"], each["which"], each["count"]) for each in logged if each["event"] == "audit"]
    assert audit == [("admin", {"ids": [first]}, 1), ("admin", {"all": True}, 2)]


@pytest.mark.parametrize("what", ["purge", "redrive"])
async def test_all_must_be_said(rig: Rig, what: str) -> None:
    await dead(rig, "v2.crm.1")
    for body in ({}, {"integration": None}, {"dry_run": True}):
        assert (await change(rig, what, body))[0] == 400
    assert len(await ids(rig)) == 1
