"""Restarts beside files that cannot be used: what the broker keeps for an integration waits for it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.processes import until
from tests.system.rig import CRM, Rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    settings = {"FORWARDER_RELOAD_SECONDS": "0.5"}
    wants = {"presence": ("crm",)}
    async with running(tmp_path, settings=settings, integrations={"crm": CRM}, wants=wants) as rig:
        await rig.burst(20)
        await rig.settled()
        await rig.quiet()
        yield rig


async def stopped_while_events_come(rig: Rig) -> None:
    assert await rig.daemon.stop() == 0
    await rig.burst(200)


async def unmatched(rig: Rig) -> int:
    books = (await rig.daemon.status())["books"]["intakes"]["mqtt"]
    return int(books["unmatched"])


async def test_a_file_that_is_bad_at_the_start_keeps_its_last_good_version_in_force(rig: Rig) -> None:
    await stopped_while_events_come(rig)
    rig.daemon.integration("crm", **CRM, TYPO="1")
    await rig.daemon.start()
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice, await unmatched(rig)) == (0, 0, 0)
    assert rig.daemon.log("integration_file_refused")


async def test_a_directory_that_is_missing_at_the_start_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    await stopped_while_events_come(rig)
    rig.daemon.integrations.rename(tmp_path / "away")
    await rig.daemon.start()
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice, await unmatched(rig)) == (0, 0, 0)


async def test_with_nothing_remembered_and_no_directory_the_broker_keeps_the_events(rig: Rig, tmp_path: Path) -> None:
    await stopped_while_events_come(rig)
    (rig.daemon.state / "lifecycle.json").write_text("spoiled")
    rig.daemon.integrations.rename(tmp_path / "away")
    await rig.daemon.launch()
    await rig.daemon.answering()

    async def connected() -> bool:
        return bool((await rig.daemon.status())["intake"]["connected"])

    await until(connected, "the broker has taken us")
    code, body = await rig.daemon.get("/readyz")
    assert (code, "the integrations could not be read" in body) == (503, True), body
    (tmp_path / "away").rename(rig.daemon.integrations)
    await until(lambda: rig.daemon.flowing(1), "the integration is back")
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice, await unmatched(rig)) == (0, 0, 0)


async def test_a_spoiled_record_is_made_anew_from_the_files(rig: Rig) -> None:
    await stopped_while_events_come(rig)
    record = rig.daemon.state / "lifecycle.json"
    record.write_text("spoiled")
    await rig.daemon.start()
    await rig.settled()
    assert (rig.oracle.missing, rig.oracle.twice, await unmatched(rig)) == (0, 0, 0)
    assert json.loads(record.read_text())["integrations"]["crm"]["standing"] == "ACTIVE"
    assert rig.daemon.log("lifecycle_record_quarantined")


async def test_a_directory_that_is_empty_at_the_start_pauses_what_was_there(rig: Rig) -> None:
    await rig.daemon.stop()
    (rig.daemon.integrations / "crm.env").unlink()
    await rig.daemon.launch()
    await rig.daemon.answering()
    await until(lambda: rig.daemon.log("mqtt_connected"), "the broker has taken us")
    code, _ = await rig.daemon.get("/readyz")
    [paused] = (await rig.daemon.status())["integrations"]
    assert (code, paused["state"], paused["takes_events"]) == (200, "INACTIVE", False)
