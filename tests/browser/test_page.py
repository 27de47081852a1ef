"""The page for everybody: by keyboard, by screen reader, on a phone, in both themes."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.browser.stage import Stage

VIEWS = ("integrations", "dead-letters", "tap", "books")
PHONE = {"width": 360, "height": 740}


async def violations(page: Page) -> list[str]:
    """What axe-core finds of WCAG 2.2 A and AA, contrast included."""
    found = await Axe().run(page)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found.response["violations"]
        for node in each["nodes"]
    ]


async def shown(page: Page, view: str) -> None:
    await page.evaluate("view => { location.hash = view }", view)
    await expect(page.locator(f"#{view}")).to_be_visible()


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_nothing_stands_in_the_way_of_anybody(stage: Stage, theme: str) -> None:
    stage.daemon.integration("crm")
    stage.daemon.integration("wrong", AWS_ACCOUNT_ID="12")
    await stage.integration("crm")
    page = await stage.open(color_scheme=theme)
    await expect(page.get_by_role("heading", name="crm")).to_be_visible()
    for view in VIEWS:
        await shown(page, view)
        assert await violations(page) == []
    await shown(page, "integrations")
    await page.get_by_role("button", name="Edit crm").click()
    await page.locator("[name=awsAccountId]").fill("12")
    assert await violations(page) == []
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Delete crm").click()
    assert await violations(page) == []


async def test_the_theme_follows_the_system_until_one_is_chosen(stage: Stage) -> None:
    page = await stage.open(color_scheme="dark")
    await expect(page.locator("html")).to_have_css("background-color", "rgb(14, 18, 23)")
    await page.get_by_role("button", name="Switch between dark and light").click()
    await expect(page.locator("html")).to_have_css("background-color", "rgb(244, 245, 247)")
    await page.reload()
    await expect(page.locator("html")).to_have_css("background-color", "rgb(244, 245, 247)")


async def test_a_phone_shows_all_of_it(stage: Stage) -> None:
    stage.daemon.integration(
        "crm", NAME="A name of many words that goes on and on and on", EVENT_SOURCE_SUFFIX="s" * 64
    )
    await stage.integration("crm")
    page = await stage.open(viewport=PHONE, has_touch=True, is_mobile=True)
    await expect(page.get_by_role("switch")).to_be_visible()
    for view in VIEWS:
        await shown(page, view)
        assert await overflow(page) == 0, view
    await shown(page, "integrations")
    await page.get_by_role("button", name="Edit").click()
    box = await page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    await expect(page.get_by_role("button", name="Save")).to_be_in_viewport()


async def test_everything_is_done_by_keyboard(stage: Stage) -> None:
    page = await stage.open()
    await expect(page.get_by_role("heading", name="No integration yet")).to_be_visible()
    keys = page.keyboard

    async def go_to(role: str, name: str) -> None:
        target = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]  # of the roles that it names
        for _ in range(60):
            if await target.count() and await target.evaluate("each => each === document.activeElement"):
                return
            await keys.press("Tab")
        raise AssertionError(f"the {role} {name} is not reached by the Tab key")

    await keys.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await go_to("button", "Add integration")
    await keys.press("Enter")
    await expect(page.get_by_label("Name", exact=True)).to_be_focused()
    await keys.type("Keys")
    await go_to("textbox", "AWS account ID")
    await keys.type("111122223333")
    await go_to("combobox", "AWS Region")
    await keys.type("us-east-1")
    await go_to("textbox", "Event source suffix")
    await keys.type("keys")
    await go_to("textbox", "Add a topic or filter")
    await keys.type("users presence")
    await keys.press("ArrowDown")
    await keys.press("Space")
    await expect(page.locator("#editor .chips li")).to_have_count(1)
    await page.get_by_label("Add a topic or filter").fill("")  # two hundred topics must not be on the way to Save
    await go_to("button", "Save")
    await keys.press("Enter")
    await expect(page.get_by_role("button", name="Activate", exact=True)).to_be_focused()
    await keys.press("Enter")
    await expect(page.locator(".card .pill")).to_have_text("active")
    await go_to("button", "Delete Keys")
    await keys.press("Enter")
    await expect(page.get_by_label("Type Keys to confirm")).to_be_focused()
    await keys.press("Escape")
    await expect(page.get_by_role("button", name="Delete Keys")).to_be_focused()
