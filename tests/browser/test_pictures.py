"""The pictures in docs/console.md. `make screenshots` keeps them; without it they are taken, and thrown away."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Page, expect

from forwarder.demo.traffic import notifications
from forwarder.emulator.sources import SourceState
from tests.browser.stage import SOURCE, TOKENS, Stage
from tests.system.processes import ROOT, until

WINDOW = {"width": 1160, "height": 840}
PHONE = {"width": 360, "height": 740}
TICK = 0.05
PRESENCE = "v2.users.{id}.presence"
ACD = "v2.detail.events.conversation.{id}.acd.start"
OBSERVATIONS = "v2.analytics.queues.{id}.observations"
ROUTING = "v2.users.{id}.routingStatus"
INTEGRATIONS = {
    "crm-wallboard": {"NAME": "CRM wallboard", "EVENT_FILTER": f"{PRESENCE}, {ROUTING}"},
    "analytics": {
        "NAME": "Analytics",
        "AWS_ACCOUNT_ID": "444455556666",
        "AWS_ACCOUNT_REGION": "eu-west-1",
        "EVENT_FILTER": f"{ACD}, {OBSERVATIONS}, {PRESENCE}",
    },
    "audit-archive": {"NAME": "Audit archive", "AWS_ACCOUNT_REGION": "eu-central-1", "EVENT_FILTER": ROUTING},
    "partner-feed": {"NAME": "Partner feed", "AWS_ACCOUNT_REGION": "ap-southeast-2", "EVENT_FILTER": PRESENCE},
    "sandbox": {"NAME": "Sandbox", "AWS_ACCOUNT_REGION": "us-west-2", "INTENDED_STATE": "DISABLED"},
}
IN_AWS = (
    ("eu-central-1", "audit-archive", SourceState.PENDING),
    ("ap-southeast-2", "partner-feed", SourceState.DELETED),
)


class Album:
    """Where the pictures go: into `directory` if they are to be `kept`."""

    def __init__(self, directory: Path, *, kept: bool) -> None:
        self._directory = directory
        self.kept = kept

    async def take(self, page: Page, name: str) -> None:
        path = self._directory / f"{name}.png"
        await page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size > 0


@asynccontextmanager
async def traffic(stage: Stage) -> AsyncIterator[None]:
    """A small organization's day."""

    async def publish() -> None:
        stream = notifications(seed=1)
        while True:
            for _ in range(3):
                await stage.send(*next(stream))
            await asyncio.sleep(TICK)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing


async def some_die(stage: Stage) -> None:
    """A few of one integration's events are refused for good."""
    stage.fault(source=f"{SOURCE}analytics", entry_errors=[{"code": "MalformedDetail", "rate": 1}])

    async def dead() -> bool:
        books = (await stage.api("GET", "api/status"))["books"]["integrations"]
        return bool(sum(books["analytics"]["dead_lettered"].values()) >= 4)

    await until(dead, "some are dead letters")
    stage.fault(source=f"{SOURCE}analytics")


async def test_the_pictures(bare: Stage, tmp_path: Path) -> None:
    kept = os.environ.get("PICTURES")
    album = Album(ROOT / kept if kept else tmp_path, kept=bool(kept))
    bare.daemon.settings.update(TOKENS, FORWARDER_SOURCE_POLL_SECONDS="1")
    await bare.begin()
    page = await bare.open(viewport=WINDOW)
    await expect(page.get_by_role("heading", name="No integration yet")).to_be_visible()
    await album.take(page, "empty")
    for id_, values in INTEGRATIONS.items():
        bare.daemon.integration(id_, **values)
        await bare.integration(id_, "INACTIVE" if "INTENDED_STATE" in values else "ACTIVE")
    await bare.flowing()
    async with traffic(bare):
        for region, suffix, state in IN_AWS:
            bare.emulator.state.set_source_state(region, SOURCE + suffix, state, time.time())
        await bare.integration("partner-feed", "ERROR")
        await some_die(bare)
        await of_integrations(page, album)
        await of_lists(page, album)
        await of_other_windows(bare, album)


async def of_integrations(page: Page, album: Album) -> None:
    latency = page.locator(".card").filter(has_text="CRM wallboard").locator("[data-part=latency]")
    await expect(latency).to_contain_text("p99")
    if album.kept:
        await page.wait_for_timeout(20_000)  # for a line to look at
    await album.take(page, "integrations")
    await page.get_by_role("button", name="Edit CRM wallboard").click()
    await page.locator("[name=awsAccountRegion]").fill("us-east-2")
    await page.get_by_label("Add a topic or filter").fill("users")
    rates = page.locator("#topic-list li:not([hidden]) small")
    await expect(rates.filter(has_text="/s").first).to_be_attached()
    await page.locator("#topic-list li", has_text=ROUTING).scroll_into_view_if_needed()
    await album.take(page, "editor")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("switch", name="Sandbox is activated").click()
    await album.take(page, "activate")
    await page.get_by_role("button", name="Cancel").click()


async def of_lists(page: Page, album: Album) -> None:
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    await page.locator("#dead-letters-list summary").first.click()
    await expect(page.locator("#dead-letters-list .json")).to_be_visible()
    await album.take(page, "dead-letters")
    await page.get_by_role("link", name="Live tap", exact=True).click()
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#tap-list > li").nth(9)).to_be_visible()
    await page.locator("#tap-list summary").nth(2).click()
    await album.take(page, "tap")
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_role("link", name="Books").click()
    await expect(page.locator("#lane-books tbody tr").first).to_be_visible()
    await album.take(page, "books")


async def of_other_windows(stage: Stage, album: Album) -> None:
    dark = await stage.open(viewport=WINDOW, color_scheme="dark")
    phone = await stage.open(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    for page, name in ((dark, "dark"), (phone, "phone")):
        await expect(page.locator(".card [data-part=latency]").filter(has_text="p99").first).to_be_visible()
        await album.take(page, name)
