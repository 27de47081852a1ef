"""Who sees what: the admin, the viewer, somebody with a wrong token or none, and a daemon without tokens."""

from playwright.async_api import Page, expect

from tests.browser.stage import ADMIN, VIEWER, Stage


async def sign_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()


async def test_the_page_asks_for_a_token_and_forgets_it_on_signing_out(stage: Stage) -> None:
    page = await stage.open(token=None)
    await expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    await sign_in(page, "nobody's")
    await expect(page.get_by_role("alert")).to_have_text("The daemon does not know this token.")
    await sign_in(page, ADMIN)
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Add integration")).to_be_visible()
    assert await page.evaluate("Object.keys(localStorage)") == []
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    assert await page.evaluate("Object.keys(sessionStorage)") == []


async def test_a_viewer_sees_everything_and_changes_nothing(stage: Stage) -> None:
    stage.daemon.integration("crm")
    await stage.integration("crm")
    page = await stage.open(token=VIEWER)
    await expect(page.get_by_role("heading", name="crm")).to_be_visible()
    await expect(page.get_by_text("View only")).to_be_visible()
    for name in ("Add integration", "Edit crm", "Delete crm"):
        await expect(page.get_by_role("button", name=name)).to_be_hidden()
    await expect(page.get_by_role("switch")).to_be_hidden()
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    await expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
    await expect(page.get_by_role("button", name="Send again…")).to_be_hidden()


async def test_without_tokens_this_machine_reads_and_is_told_how_to_do_more(bare: Stage) -> None:
    bare.daemon.integration("crm")
    await bare.begin()
    page = await bare.open(token=None)
    await expect(page.get_by_role("heading", name="crm")).to_be_visible()
    await expect(page.locator("#read-only")).to_contain_text("until FORWARDER_ADMIN_TOKEN is set")
    await expect(page.get_by_role("button", name="Add integration")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign")).to_be_hidden()
