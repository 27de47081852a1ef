"""What is wrong around the daemon gets one clear message; where it can go on it goes on, else it ends with 1 or 2."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.processes import SECRET, Daemon, free_port, until
from tests.system.rig import AUDIT, CRM, Rig, running

GOOD = b'{"topicName":"v2.users.1.presence","version":"2","eventBody":{"n":1}}'
MALFORMED = {
    "empty": b"",
    "no JSON": b"presence=busy",
    "cut short": GOOD[:-1],
    "a list": b"[1,2]",
    "deep": b'{"topicName":"v2.users.1.presence","eventBody":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not UTF-8": GOOD.replace(b'"n":1', b'"n":"\xff\xfe"'),
    "a wildcard": GOOD.replace(b"users.1", b"users.+"),
    "a NUL": GOOD.replace(b"users.1", b"users.\\u0000"),
    "no string": GOOD.replace(b'"v2.users.1.presence"', b"7"),
}
HUGE = GOOD.replace(b'"n":1', b'"n":"%b"' % (b"x" * 5_000_000))  # no entry of EventBridge can hold it


async def test_what_is_no_notification_is_counted_and_told_and_the_rest_goes_on(rig: Rig) -> None:
    await rig.send("v2.users.1.presence", *MALFORMED.values(), HUGE, GOOD)
    await until(rig.emulator.state.events, "what follows arrives")
    await rig.quiet()
    scrape = await rig.daemon.scrape()
    assert scrape.total("forwarder_notifications_malformed_total") == len(MALFORMED)
    assert scrape.total("forwarder_deliveries_dead_lettered_total", integration="crm", reason="oversize") == 1
    assert scrape.total("forwarder_deliveries_delivered_total", integration="crm") == 1
    assert scrape.imbalances() == []
    assert rig.daemon.log("malformed_notification")


@pytest.mark.parametrize("topic", ["v2/users/+/presence", "v2/users/#", "v2/users/a\0b/presence"])
async def test_a_topic_that_mqtt_forbids_gets_no_further_than_the_broker(rig: Rig, topic: str) -> None:
    await rig.send(topic, GOOD)  # the broker ends that publisher's connection
    await rig.publish(rate=100, seconds=0.2)
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.arrivals) == (0, rig.published)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """With one integration, not started; nobody listens where it looks."""
    daemon = Daemon(
        tmp_path / "daemon",
        {
            "FORWARDER_MQTT_URL": f"mqtt://127.0.0.1:{free_port()}",
            "AWS_ENDPOINT_URL_EVENTBRIDGE": f"http://127.0.0.1:{free_port()}",
        },
    )
    daemon.integration("crm")
    yield daemon
    await daemon.kill()


async def ends_with(daemon: Daemon, code: int) -> str:
    """The last line it says."""
    assert await daemon.ended() == code, daemon.said()
    assert "Traceback" not in daemon.said()
    last = daemon.said().splitlines()[-1]
    assert last.startswith("forwarder: ")
    return last


async def test_a_state_directory_that_cannot_be_written(daemon: Daemon) -> None:
    daemon.state.mkdir(mode=0o500)
    # Root may write everywhere, unless the capability that lets it is taken away.
    setpriv = shutil.which("setpriv")
    assert setpriv or os.getuid() != 0, "setpriv is missing: run this as another user than root"
    without = (setpriv, "--bounding-set", "-dac_override,-dac_read_search") if setpriv and os.getuid() == 0 else ()
    await daemon.launch(*without)
    said = await ends_with(daemon, 1)
    assert str(daemon.state) in said
    assert "FORWARDER_STATE_DIR" in said


async def test_a_state_directory_of_a_newer_version(daemon: Daemon) -> None:
    daemon.state.mkdir()
    with sqlite3.connect(daemon.state / "spool.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    await daemon.launch()
    said = await ends_with(daemon, 1)
    assert "newer forwarder" in said
    assert "99" in said


async def test_a_state_directory_that_is_no_database_is_put_aside(daemon: Daemon) -> None:
    daemon.state.mkdir()
    (daemon.state / "spool.db").write_bytes(b"this is no database" * 1000)
    await daemon.launch()
    await daemon.answering()
    (line,) = daemon.log("spool_mended")
    aside = Path(line["damaged_file"])
    assert (await asyncio.to_thread(aside.read_bytes)).startswith(b"this is no database")


async def test_two_daemons_on_one_state_directory(rig: Rig, tmp_path: Path) -> None:
    second = Daemon(tmp_path / "second", {"FORWARDER_STATE_DIR": str(rig.daemon.state)})
    await second.launch()
    assert "Another forwarder" in await ends_with(second, 1)
    await rig.publish(rate=100, seconds=0.2)
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice) == (0, 0)


async def reason_of(daemon: Daemon) -> str:
    status = await daemon.status()
    found: list[str] = [each["reason"] for each in status["integrations"] if each["state"] != "ACTIVE"]
    return found[0] if found else ""


async def test_a_broker_and_an_aws_endpoint_that_are_not_there(daemon: Daemon) -> None:
    await daemon.launch()
    await daemon.answering()

    async def reason() -> bool:
        return "127.0.0.1" in await reason_of(daemon)

    await until(reason, "the integration's state says what is wrong")
    code, body = await daemon.get("/readyz")
    assert (code, "not connected to 127.0.0.1" in body) == (503, True)
    assert len(daemon.log("mqtt_not_connected")) == 1, "told once, not at each attempt"
    assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "not-that-one"}, "signature"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "token"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, "credentials"),
    ],
)
async def test_wrong_credentials_are_told_and_events_wait_for_the_right_ones(
    tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    async with running(tmp_path) as rig:
        right = dict(rig.daemon.settings)
        assert await rig.daemon.stop() == 0
        rig.daemon.settings |= wrong
        await rig.publish(rate=100, seconds=0.5)
        await rig.daemon.launch()
        await rig.daemon.answering()

        async def received() -> bool:
            status = await rig.daemon.status()
            return bool(sum(each["received"] for each in status["books"]["intakes"].values()) == rig.published)

        await until(received, "events are taken from the broker all the same")

        async def trouble() -> bool:
            status = await rig.daemon.status()
            return all(told in (lane["trouble"] or "").lower() for lane in status["lanes"].values())

        await until(trouble, "every lane says what is wrong")
        assert SECRET not in rig.daemon.said()
        assert await rig.daemon.stop() == 0
        rig.daemon.settings = right
        await rig.daemon.start(integrations=2)
        await rig.settled()
        assert (rig.oracle.missing, rig.oracle.twice) == (0, 0)


async def test_one_bad_integration_file_at_the_start_is_told_and_the_others_work(tmp_path: Path) -> None:
    async with running(tmp_path, integrations={"crm": CRM}, wants={"presence": ("crm",)}) as rig:
        await rig.daemon.stop()
        rig.daemon.integration("audit", **AUDIT | {"AWS_ACCOUNT_ID": "12"})
        await rig.daemon.start()
        assert "Invalid AWS account ID" in rig.daemon.log("integration_file_refused")[0]["problem"]
        await rig.publish(rate=100, seconds=0.2)
        await rig.settled()
        assert (rig.oracle.missing, rig.oracle.arrivals) == (0, rig.published)
