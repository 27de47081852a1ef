"""The dialog in which an integration is changed: errors stand where they belong, and nothing is overwritten."""

import re

from playwright.async_api import Locator, Page, Route, expect

from tests.browser.stage import Stage
from tests.system.processes import until

ERRORS = {
    "awsAccountId": ("12345", "Invalid AWS account ID"),
    "awsAccountRegion": ("us-east-9", "Invalid AWS Region"),
    "eventSourceSuffix": ("a b", "Invalid event source suffix"),
}


async def opened(stage: Stage, **files: str) -> Page:
    """The editor of the integration `crm`."""
    stage.daemon.integration("crm", **files)
    await stage.integration("crm")
    page = await stage.open()
    await page.get_by_role("button", name="Edit crm").click()
    return page


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#editor [name={name}]")


async def test_errors_stand_at_their_fields_while_typing(stage: Stage) -> None:
    page = await opened(stage)
    for name, (value, error) in ERRORS.items():
        await field(page, name).fill(value)
        await expect(page.locator(f"#e-{name}")).to_contain_text(error)
        await expect(field(page, name)).to_have_attribute("aria-invalid", "true")
        await expect(field(page, name)).to_have_accessible_description(re.compile(error))
    await page.get_by_role("button", name="Save").click()
    await expect(field(page, "awsAccountId")).to_be_focused()
    await field(page, "awsAccountId").fill("444455556666")
    await expect(page.locator("#e-awsAccountId")).to_have_text("")


async def test_a_suffix_that_another_active_integration_has_is_refused(stage: Stage) -> None:
    stage.daemon.integration("sales")
    await stage.integration("sales")
    page = await opened(stage)
    await field(page, "eventSourceSuffix").fill("sales")
    await expect(page.locator("#e-eventSourceSuffix")).to_have_text("Event source suffix must be unique: sales has it")


async def test_what_only_the_daemon_finds_wrong_is_said_at_the_field(stage: Stage) -> None:
    page = await opened(stage)
    await page.get_by_label("Add a topic or filter").fill("v2.users.{id}.presence.#.x")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#e-eventFilter")).to_contain_text("'#' is only allowed as the last segment")

    async def strange(route: Route) -> None:
        detail = {"errorCode": "x", "fieldName": "properties.awsAccountRegion", "message": "Invalid AWS Region (no)"}
        await route.fulfill(status=400, json={"message": "no", "status": 400, "details": [detail]})

    await page.route("**/config/current", strange)
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#e-awsAccountRegion")).to_have_text("Invalid AWS Region (no)")
    await expect(field(page, "awsAccountRegion")).to_be_focused()


async def test_a_change_made_meanwhile_is_shown_and_not_overwritten(stage: Stage) -> None:
    page = await opened(stage)
    await field(page, "name").fill("Mine")
    stage.daemon.integration("crm", NAME="Theirs", NOTES="kept")
    await page.get_by_role("button", name="Save").click()
    conflict = page.get_by_role("alert").filter(has_text="was changed while you were editing it")
    await expect(conflict).to_contain_text("Theirs")
    await expect(conflict).to_contain_text("Mine")
    await conflict.get_by_role("button", name="Load what was saved").click()
    await expect(field(page, "name")).to_have_value("Theirs")
    await expect(field(page, "notes")).to_have_value("kept")
    await field(page, "name").fill("Ours")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Ours")).to_be_visible()
    assert "kept" in (stage.daemon.integrations / "crm.env").read_text()


async def test_free_filters_stand_beside_topics_of_the_catalogue(stage: Stage) -> None:
    page = await opened(stage)
    await page.get_by_label("Add a topic or filter").fill("v2.users.*.#")
    await expect(page.get_by_text("No topic of the catalogue")).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(page.locator("#editor .chips")).to_contain_text("v2.users.*.#")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".card .topics")).to_contain_text("v2.users.*.#")


async def test_the_picker_says_how_often_a_topic_flows_now(stage: Stage) -> None:
    page = await opened(stage)
    await stage.flowing()
    await stage.notify("v2.users.u1.presence", 40)
    await page.get_by_label("Add a topic or filter").fill("v2.users.{id}.presence")
    row = page.locator("#topic-list label").filter(has_text="v2.users.{id}.presence").first
    await expect(row.locator("small")).to_contain_text("/s")


async def test_an_integration_that_could_not_be_configured_is_not_left_behind(stage: Stage) -> None:
    page = await stage.open()
    await page.route(
        "**/config/current", lambda route: route.fulfill(status=503, json={"message": "The disk is full."})
    )
    await page.get_by_role("button", name="Add integration").click()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("The disk is full.")
    await page.get_by_role("button", name="Cancel").click()
    await until(lambda: not list(stage.daemon.integrations.glob("*.env")), "the draft is deleted")
