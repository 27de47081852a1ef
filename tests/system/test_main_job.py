"""Notifications in, events out: the daemon as a process between a real broker and the emulator."""

import asyncio
import json
import re
import subprocess
from signal import SIGTERM

from forwarder.emulator.event_log import Event
from tests.system.oracle import PREFIX
from tests.system.processes import program, until
from tests.system.rig import Rig

BODY = (
    rb'{"one":1.0,"huge":1e400,"tiny":-0.0E-9,"digits":123456789012345678901234567890,'
    rb'"twice":1,"twice":2, "escapes":"\u00e9\/\ud83d\ude00","utf8":"'
    + "é😀".encode()
    + rb'","metadata":{},"list":[ ],"null":null}'
)
EVENT_ID = rb'"EventId":"([0-9a-f]{32})"'


async def delivered(rig: Rig, count: int) -> list[Event]:
    def events() -> list[Event] | None:
        found = rig.emulator.state.events()
        return found if len(found) >= count else None

    found: list[Event] = await until(events, f"{count} events are delivered")
    return found


async def test_every_kind_reaches_its_own_integration_once_and_the_books_balance_all_along(rig: Rig) -> None:
    async with rig.audited():
        await rig.publish(rate=600, seconds=3)
        await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice, rig.oracle.strays, rig.oracle.damaged) == (0, 0, [], [])
    assert rig.oracle.arrivals == rig.published
    assert (rig.imbalances, rig.scrapes > 3) == ([], True)
    where = {(event.source, event.account, event.region) for event in rig.emulator.state.events()}
    assert where == {
        (f"{PREFIX}crm", "111122223333", "us-east-1"),
        (f"{PREFIX}audit", "444455556666", "eu-west-1"),
    }
    await rig.quiet()
    scrape = await rig.daemon.scrape()
    assert scrape.total("forwarder_notifications_received_total") == rig.published
    assert scrape.total("forwarder_deliveries_delivered_total") == rig.published


async def test_the_entry_is_the_notification_byte_for_byte_with_time_and_event_id_spliced_in(rig: Rig) -> None:
    head = b'{ "version":"2" , "topicName":"v2.users.7.presence","eventBody":' + BODY
    stamped = head + b',"metadata":{"CorrelationId":"c"},"timestamp":"2026-03-21T01:09:55.912Z"}'
    bare = head + b"}"
    await rig.send("v2.users.7.presence", stamped, bare, stamped)
    first, second, third = await delivered(rig, 3)

    found = re.search(EVENT_ID, first.detail)
    assert found
    assert first.detail == stamped.replace(b'"c"}', b'"c",%b}' % found[0])
    assert first.envelope().find(b'"time":"2026-03-21T01:09:55Z"') > 0  # cut, not rounded
    assert (first.detail_type, first.resources) == ("v2.users.{id}.presence", ())
    assert third.detail == first.detail, "the id of a redelivery is the same"

    added = second.detail.removeprefix(head)
    assert re.fullmatch(b',"metadata":{%b},"timestamp":"[^"]+"}' % EVENT_ID, added)
    assert found[0] not in second.detail
    stamp = json.loads(b"{" + added[1:])["timestamp"]
    assert json.loads(second.envelope())["time"] == stamp.split(".")[0] + "Z"


async def test_what_no_filter_wants_is_counted_and_goes_nowhere(rig: Rig) -> None:
    rig.daemon.integration("crm", EVENT_FILTER="v2.users.#")
    await until(lambda: "integrations_reloaded" in rig.daemon.said(), "the filters are taken")
    elsewhere = b'{"topicName":"v2.queues.1.members","version":"2","eventBody":{}}'  # not what the MQTT topic says
    wanted = b'{"topicName":"v2.users.1.activity","version":"2","eventBody":{}}'

    async def subscribed() -> bool:
        await rig.send("v2.users.1.activity", elsewhere, wanted)
        return bool(rig.emulator.state.events())

    await until(subscribed, "the new subscription brings something")
    await rig.quiet()
    assert {event.detail_type for event in rig.emulator.state.events()} == {"v2.users.{id}.activity"}
    scrape = await rig.daemon.scrape()
    assert scrape.total("forwarder_notifications_unmatched_total") >= 1
    assert scrape.imbalances() == []


async def test_probes_follow_the_stream_and_the_shutdown(rig: Rig) -> None:
    assert (await rig.daemon.get("/livez"))[0] == 200
    assert (await rig.daemon.get("/readyz"))[0] == 200

    async def not_ready() -> list[str] | None:
        code, body = await rig.daemon.get("/readyz")
        reasons: list[str] = json.loads(body)["reasons"]
        return reasons if code == 503 else None

    await rig.broker.stop()
    (reason,) = await until(not_ready, "the daemon notices that the broker is gone")
    assert "mqtt" in reason
    await rig.broker.start()

    async def ready() -> bool:
        return (await rig.daemon.get("/readyz"))[0] == 200

    await until(ready, "the daemon is connected again")
    # A call that takes its time keeps the daemon draining for as long as we look.
    rig.fault(latency_ms=3000)
    await rig.publish(rate=100, seconds=0.1)
    await until(lambda: calls_under_way(rig), "calls are under way")
    rig.daemon.send(SIGTERM)
    reasons = await until(not_ready, "the daemon says that it is stopping")
    assert "the daemon is stopping" in reasons
    assert await rig.daemon.ended() == 0
    assert (rig.oracle.missing, rig.oracle.twice) == (0, 0)


async def calls_under_way(rig: Rig) -> bool:
    status = await rig.daemon.status()
    return any(region["in_flight"] for region in status["regions"].values())


async def test_status_shows_intake_lanes_integrations_and_books(rig: Rig) -> None:
    await rig.publish(rate=200, seconds=0.2)
    await rig.settled()
    await rig.quiet()
    status = await rig.daemon.status()
    assert (status["ready"], status["intake"]["connected"]) == (True, True)
    states = {each["id"]: (each["state"], each["region"]) for each in status["integrations"]}
    assert states == {"crm": ("ACTIVE", "us-east-1"), "audit": ("ACTIVE", "eu-west-1")}
    assert status["books"]["intakes"]["mqtt"]["received"] == rig.published
    assert sum(lane["delivered"] for lane in status["books"]["integrations"].values()) == rig.published
    assert status["lanes"].keys() == {"crm", "audit"}


async def test_promtool_has_nothing_to_say_of_a_working_daemon(rig: Rig) -> None:
    rig.fault(
        errors=({"code": "ServiceUnavailable", "rate": 0.3},), entry_errors=({"code": "InternalFailure", "rate": 0.3},)
    )
    await rig.publish(rate=400, seconds=0.5)
    await rig.settled()
    text = (await rig.daemon.scrape()).text
    command = [program("promtool"), "check", "metrics"]
    checked = await asyncio.to_thread(subprocess.run, command, input=text.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
