"""A live copy of the events, and how often their topics flow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from forwarder.api import tap
from tests.integration.api.conftest import CRM, VIEWER, Rig, until

AUDIT = CRM.replace("SUFFIX=crm", "SUFFIX=audit").replace("v2.users.{id}.presence", "v2.#")


class Watcher:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, Any]:
        """The next event, comments passed over. Ends with ("", None)."""
        kind = ""
        async with asyncio.timeout(10):
            async for line in self._answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    return kind, msgspec.json.decode(value)
        return "", None


@asynccontextmanager
async def watching(rig: Rig, **query: str) -> AsyncIterator[Watcher]:
    headers = {"Authorization": f"Bearer {VIEWER}"}
    async with rig.session.get(rig.url + "/api/tap", params=query, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        await answer.content.readline()  # it is listening now
        yield Watcher(answer)


@pytest.fixture
async def two(rig: Rig) -> Rig:
    await rig.put_file("crm", CRM)
    await rig.put_file("audit", AUDIT)
    await rig.state("crm", "ACTIVE")
    await rig.state("audit", "ACTIVE")
    return rig


async def test_every_event_for_every_integration(two: Rig) -> None:
    async with watching(two) as watcher:
        await two.publish("v2.users.7.presence")
        events = [await watcher.next(), await watcher.next()]
    assert [(kind, event["integration"]) for kind, event in events] == [("event", "audit"), ("event", "crm")]
    event = events[0][1]
    assert (event["topic"], event["detail_type"]) == ("v2.users.7.presence", "v2.users.{id}.presence")
    assert msgspec.json.decode(event["detail"])["metadata"]["EventId"] == event["id"]


async def test_one_integration_and_one_kind_of_topic(two: Rig) -> None:
    async with (
        watching(two, integration="crm") as crm,
        watching(two, topic="v2.queues.{id}.x", integration="audit") as queues,
    ):
        await two.publish("v2.queues.1.x", "v2.users.7.presence", "v2.queues.2.x")
        assert (await crm.next())[1]["topic"] == "v2.users.7.presence"
        assert [(await queues.next())[1]["topic"] for _ in range(2)] == ["v2.queues.1.x", "v2.queues.2.x"]


async def test_a_wrong_filter_is_refused(rig: Rig) -> None:
    status, error = await rig.ask("GET", "/api/tap", params={"topic": "v2..x"})
    assert (status, error["details"][0]["fieldName"]) == (400, "topic")


async def test_what_a_slow_client_misses_is_counted(two: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MAX_WAITING", 3)
    async with watching(two, integration="crm") as watcher:
        await two.publish(*["v2.users.7.presence"] * 10)
        assert [(await watcher.next())[0] for _ in range(3)] == ["event"] * 3
        assert await watcher.next() == ("dropped", {"count": 7})
        await two.publish("v2.users.8.presence")
        assert (await watcher.next())[1]["topic"] == "v2.users.8.presence"
    await two.deliveries(22)


async def test_only_so_many_watch_and_one_that_leaves_makes_room(two: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MAX_LISTENERS", 1)
    monkeypatch.setattr(tap, "SILENCE_SECONDS", 0)  # it is written to all the while, so that a closed socket is seen
    async with watching(two):
        assert (await two.ask("GET", "/api/tap"))[0] == 503
    await until(lambda: not two.daemon._api._tap._listeners, "it has left")
    async with watching(two):
        pass


async def test_it_ends_when_the_daemon_does(two: Rig) -> None:
    async with watching(two) as watcher:
        two.daemon.stop()
        assert await watcher.next() == ("end", {})
        assert await watcher.next() == ("", None)


async def test_rates(two: Rig) -> None:
    assert (await two.get("/api/topics/rates"))["rates"] == {}
    await two.publish("v2.users.7.presence", "v2.users.8.presence", "v2.unknown")
    found = await two.get("/api/topics/rates")
    assert set(found["rates"]) == {"v2.users.{id}.presence", "v2.unknown"}
    assert found["rates"]["v2.users.{id}.presence"] == pytest.approx(2 / found["seconds"], rel=0.01)
