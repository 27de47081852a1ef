"""An integration's whole life, as an admin lives it in the browser."""

from playwright.async_api import Page, expect

from tests.browser.stage import Stage
from tests.system.processes import until


async def fill_in(page: Page, **values: str) -> None:
    """Fill fields of the editor by their names in the form."""
    for name, value in values.items():
        await page.locator(f"#editor [name={name}]").fill(value)


async def choose_topic(page: Page, topic: str, search: str) -> None:
    await page.get_by_label("Add a topic or filter").fill(search)
    await page.locator("#topic-list label").filter(has_text=topic).first.click()


async def confirm(page: Page, action: str) -> None:
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name=action, exact=True).click()
    await expect(dialog).to_be_hidden()


async def added(stage: Stage, page: Page, name: str = "Sales CRM", suffix: str = "crm-prod") -> None:
    """Add an integration for presence, and activate it."""
    await page.get_by_role("button", name="Add integration").click()
    values = {"awsAccountId": "111122223333", "awsAccountRegion": "us-east-1", "eventSourceSuffix": suffix}
    await fill_in(page, name=name, **values)
    await choose_topic(page, "v2.users.{id}.presence", "users presence")
    await page.get_by_role("button", name="Save").click()
    await confirm(page, "Activate")
    await expect(page.locator(".card .pill")).to_have_text("active")


async def test_from_an_empty_directory_to_a_delivered_event(stage: Stage) -> None:
    page = await stage.open()
    await expect(page.get_by_role("heading", name="No integration yet")).to_be_visible()
    await page.get_by_role("button", name="Add the first integration").click()
    await fill_in(page, name="Sales CRM", awsAccountId="111122223333", awsAccountRegion="us-east-1")
    await fill_in(page, eventSourceSuffix="crm-prod")
    await expect(page.locator("output")).to_have_text("aws.partner/genesys.com/cloud/acme/crm-prod")
    await choose_topic(page, "v2.users.{id}.presence", "presence")
    await page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Activate Sales CRM?")
    await expect(dialog).to_contain_text("account 111122223333, region us-east-1")
    await confirm(page, "Activate")

    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="Sales CRM"))
    await expect(card.locator(".pill")).to_have_text("active")
    await expect(card.get_by_role("switch")).to_be_checked()
    assert stage.source_states("us-east-1") == {"crm-prod": "ACTIVE"}
    await stage.flowing()
    await stage.notify("v2.users.u1.presence", 3)
    await until(lambda: len(stage.delivered("crm-prod")) == 3, "the events arrive")
    await expect(card.locator("[data-part=delivered]")).to_have_text("3")
    assert (stage.daemon.integrations / "sales-crm.env").exists()


async def test_topics_change_while_it_runs(stage: Stage) -> None:
    page = await stage.open()
    await added(stage, page)
    await stage.flowing()
    await page.get_by_role("button", name="Edit Sales CRM").click()
    await page.get_by_role("button", name="Remove v2.users.{id}.presence").click()
    await choose_topic(page, "v2.users.{id}.routingStatus", "routingstatus")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".card .topics")).to_have_text("v2.users.{id}.routingStatus")
    await expect(page.locator(".card .pill")).to_have_text("active")

    async def arrives() -> bool:
        await stage.notify("v2.users.u1.routingStatus")
        return stage.delivered("crm-prod") != []

    await until(arrives, "an event of the new topic arrives")
    assert set(stage.delivered("crm-prod")) == {"v2.users.{id}.routingStatus"}


async def test_another_identity_deactivates_until_it_is_activated_again(stage: Stage) -> None:
    page = await stage.open()
    await added(stage, page)
    await page.get_by_role("button", name="Edit Sales CRM").click()
    await expect(page.get_by_text("Saving deactivates this integration")).to_be_hidden()
    await fill_in(page, awsAccountRegion="eu-west-1", eventSourceSuffix="crm-eu")
    await expect(page.get_by_text("Saving deactivates this integration")).to_contain_text(
        "deletes the event source crm-prod in account 111122223333, us-east-1, and creates crm-eu"
    )
    await page.get_by_role("button", name="Save and deactivate").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Activate Sales CRM?")
    await dialog.get_by_role("button", name="Cancel").click()

    await expect(page.locator(".card .pill")).to_have_text("inactive")
    await expect(page.get_by_role("switch")).not_to_be_checked()
    assert stage.source_states("us-east-1") == {"crm-prod": "ACTIVE"}
    await page.get_by_role("switch").click()
    await confirm(page, "Activate")
    await expect(page.locator(".card .pill")).to_have_text("active")
    assert stage.source_states("us-east-1") == {"crm-prod": "DELETED"}
    assert stage.source_states("eu-west-1") == {"crm-eu": "ACTIVE"}


async def test_a_pause_leaves_the_event_source_as_it_is(stage: Stage) -> None:
    page = await stage.open()
    await added(stage, page)
    await page.get_by_role("switch").click()
    await expect(page.get_by_role("dialog")).to_contain_text("The partner event source in AWS is not touched.")
    await confirm(page, "Deactivate")
    await expect(page.locator(".card .pill")).to_have_text("inactive")
    assert stage.source_states("us-east-1") == {"crm-prod": "ACTIVE"}


async def test_it_is_deleted_by_typing_its_name(stage: Stage) -> None:
    page = await stage.open()
    await added(stage, page)
    await page.get_by_role("button", name="Delete Sales CRM").click()
    delete = page.get_by_role("dialog").get_by_role("button", name="Delete")
    await expect(delete).to_be_disabled()
    await page.get_by_label("Type Sales CRM to confirm").fill("Sales")
    await expect(delete).to_be_disabled()
    await page.get_by_label("Type Sales CRM to confirm").fill("Sales CRM")
    await delete.click()
    await expect(page.locator("#integrations-title")).to_be_focused()
    await expect(page.get_by_role("heading", name="No integration yet")).to_be_visible()
    assert stage.source_states("us-east-1") == {"crm-prod": "DELETED"}
    assert list(stage.daemon.integrations.glob("*.env")) == []


async def test_a_pending_source_is_told_loudly(bare: Stage) -> None:
    bare.daemon.settings["FORWARDER_ADMIN_TOKEN"] = "the-admin-token"
    await bare.begin(auto_associate=False)
    page = await bare.open()
    await added(bare, page)
    card = page.locator(".card")
    await expect(card).to_have_attribute("data-mood", "pending")
    await expect(card.locator(".reason")).to_contain_text("AWS accepts events and DROPS them")
