"""Integration files changed under load: what matches all along is neither lost nor doubled."""

import asyncio
import shutil
from pathlib import Path

from tests.system.processes import until
from tests.system.rig import AUDIT, CRM, Rig, running

# Polling so seldom that a change that is seen in time was seen by its file event.
BY_EVENTS = {"FORWARDER_RELOAD_SECONDS": "60"}
BY_POLLING = {"FORWARDER_RELOAD_SECONDS": "0.5"}
BOTH = "v2.users.{id}.presence, v2.users.{id}.routingStatus"


async def filters_of(rig: Rig, id_: str) -> int:
    status = await rig.daemon.status()
    return next(len(each["topic_filters"]) for each in status["integrations"] if each["id"] == id_)


async def test_filters_and_integrations_change_under_load(tmp_path: Path) -> None:
    async with running(tmp_path, settings=BY_EVENTS, integrations={"crm": CRM}) as rig, rig.audited():
        load = asyncio.create_task(rig.publish(rate=800, seconds=60))
        crm, audit = rig.oracle.lanes["crm"], rig.oracle.lanes["audit"]
        await until(lambda: crm.arrived, "events flow")

        rig.daemon.integration("audit", **AUDIT)
        await until(lambda: audit.arrived, "the new integration's events flow", 10)
        from_here = rig.published

        rig.daemon.integration("crm", EVENT_FILTER=BOTH)
        await until(lambda: any(number % 2 for number in crm.arrived), "the added filter has effect", 10)

        rig.daemon.integration("crm", EVENT_FILTER="not a topic filter", AWS_ACCOUNT_REGION="moon-1")
        refused = await until(lambda: rig.daemon.log("integration_file_refused"), "the bad file is refused", 10)
        assert {"crm.env" in line["problem"] for line in refused} == {True}
        assert (await rig.daemon.scrape()).total("forwarder_config_last_reload_successful") == 0
        assert await filters_of(rig, "crm") == 2

        rig.daemon.integration("crm", **CRM)

        async def one_filter() -> bool:
            return await filters_of(rig, "crm") == 1

        await until(one_filter, "the removed filter has effect", 10)
        removed_at = rig.published
        await until(lambda: rig.published > removed_at + 400, "load goes on")
        load.cancel()
        await asyncio.wait([load])
        await rig.acknowledged()
        await until(lambda: not crm.missing, "everything arrives")
        await until(lambda: not {n for n in audit.missing if n >= from_here}, "everything arrives")
        await rig.quiet()
    # The presence filter was in force throughout, and the other's messages come to nobody else's harm.
    assert [number for number, times in crm.arrived.items() if times > 1 and number % 2 == 0] == []
    assert audit.twice == 0
    assert [number for number in crm.arrived if number % 2 and number >= removed_at] == []
    assert (rig.oracle.damaged, rig.imbalances) == ([], [])


async def test_disabling_pauses_and_enabling_again_delivers(rig: Rig) -> None:
    rig.daemon.integration("audit", **AUDIT, INTENDED_STATE="DISABLED")

    async def state(wanted: str) -> bool:
        status = await rig.daemon.status()
        return any(each["id"] == "audit" and each["state"] == wanted for each in status["integrations"])

    await until(lambda: state("INACTIVE"), "the integration is paused")
    await rig.publish(rate=400, seconds=0.5)
    await until(lambda: not rig.oracle.lanes["crm"].missing, "the other one goes on")
    assert not rig.oracle.lanes["audit"].arrived
    rig.daemon.integration("audit", **AUDIT)
    await until(lambda: state("ACTIVE"), "the integration is active again")
    before = rig.published
    await rig.publish(rate=400, seconds=0.5)
    await until(lambda: not {n for n in rig.oracle.lanes["audit"].missing if n >= before}, "events flow again")


async def test_a_directory_that_vanishes_pauses_nothing_for_good(tmp_path: Path) -> None:
    async with running(tmp_path, settings=BY_POLLING) as rig:
        away = tmp_path / "away"
        rig.daemon.integrations.rename(away)
        await until(lambda: rig.daemon.log("integration_file_refused"), "the missing directory is told")
        await rig.publish(rate=400, seconds=0.5)
        await rig.settled()
        assert (rig.oracle.missing, rig.oracle.twice) == (0, 0), "what was in force stays in force"
        shutil.copytree(away, rig.daemon.integrations)
        await until(lambda: rig.daemon.log("integration_file_problem_gone"), "the directory is back")
        rig.daemon.integration("crm", EVENT_FILTER=BOTH)

        async def two_filters() -> bool:
            return await filters_of(rig, "crm") == 2

        await until(two_filters, "changes count again")
