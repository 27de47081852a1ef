"""Dead letters, the live tap, the books, and what is wrong."""

import json
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.stage import SOURCE, Stage
from tests.system.processes import until

TOPIC = "v2.users.u1.presence"


async def flowing(stage: Stage, *ids: str) -> None:
    for id_ in ids:
        stage.daemon.integration(id_)
        await stage.integration(id_)
    await stage.flowing()


async def dead(stage: Stage, *ids: str) -> None:
    """Two dead letters of each integration: AWS refuses its entries for good."""
    await flowing(stage, *ids)
    stage.fault(entry_errors=[{"code": "MalformedDetail", "rate": 1}])
    await stage.notify(TOPIC, 2)

    async def buried() -> bool:
        books = (await stage.api("GET", "api/status"))["books"]["integrations"]
        return all(sum(books[id_]["dead_lettered"].values()) == 2 for id_ in ids)

    await until(buried, "the events are dead letters")
    stage.fault()


def rows(page: Page) -> Any:
    return page.locator("#dead-letters-list > li")


async def test_dead_letters_are_filtered_read_and_sent_again(stage: Stage) -> None:
    await dead(stage, "crm", "audit")
    page = await stage.open("dead-letters")
    await expect(rows(page)).to_have_count(4)
    await page.locator("#dead-letters-filter [name=integration]").select_option("crm")
    await expect(rows(page)).to_have_count(2)
    first = rows(page).first
    await first.locator("summary").click()
    await expect(first).to_contain_text("MalformedDetail")
    # As delivered, and not as JavaScript would write it.
    await expect(first.locator(".json")).to_contain_text('"rate": 1.0')
    await expect(first.locator(".json")).to_contain_text('"huge": 1e400')
    await expect(first.locator(".json")).to_contain_text(r"\u00e9")
    await first.get_by_role("button", name="Raw").click()
    await expect(first.locator(".json")).to_contain_text('"eventBody":{"rate":1.0,"huge":1e400')

    await first.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Send again…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Send again 1 dead letter?")
    await dialog.get_by_role("button", name="Send again").click()
    await expect(page.locator("#notice")).to_have_text("1 dead letter sent again.")
    await until(lambda: len(stage.delivered("crm")) == 1, "it is delivered")
    await expect(rows(page)).to_have_count(1)


async def test_dead_letters_are_deleted_only_as_far_as_the_filters_mean(stage: Stage) -> None:
    await dead(stage, "crm", "audit")
    page = await stage.open("dead-letters?integration=audit")
    await expect(rows(page)).to_have_count(2)
    await page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Delete all 2 dead letters?")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No dead letters here.")).to_be_visible()
    left = await stage.api("GET", "api/dead-letters")
    assert {each["integration"] for each in left["dead_letters"]} == {"crm"}


async def test_the_tap_shows_what_passes_and_waits_for_a_reader(stage: Stage) -> None:
    await flowing(stage, "crm", "audit")
    page = await stage.open("tap?integration=crm")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_text("Watching")).to_be_visible()
    events = page.locator("#tap-list > li")

    await stage.notify(TOPIC, 2)
    await expect(events).to_have_count(2)
    await expect(events.first).to_contain_text("crm")
    await events.first.locator("summary").click()
    await expect(events.first.locator(".json")).to_contain_text('"huge": 1e400')
    await stage.notify(TOPIC, 3)
    await expect(page.locator("#tap-count")).to_contain_text("3 new")
    assert await events.count() == 2
    await page.locator("#tap-title").hover()
    await page.get_by_role("button", name="Clear").focus()
    await expect(events).to_have_count(5)
    await expect(page.locator("#tap-list")).not_to_contain_text("audit")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("button", name="Start")).to_be_visible()


async def test_the_books_are_shown_with_a_check(stage: Stage) -> None:
    await flowing(stage, "crm")
    await stage.notify(TOPIC, 5)
    await until(lambda: len(stage.delivered("crm")) == 5, "the events arrive")
    page = await stage.open("books")
    await expect(page.locator("#intake-books tbody")).to_have_text("mqtt5005✓ balances")
    await expect(page.locator("#lane-books tbody")).to_have_text("crm55000✓ balances")

    async def embezzle(route: Any) -> None:
        answer = await route.fetch()
        status = await answer.json()
        status["books"]["integrations"]["crm"]["delivered"] -= 1
        await route.fulfill(body=json.dumps(status), content_type="application/json")

    await page.route("**/api/status", embezzle)
    await expect(page.locator("#lane-books tbody")).to_contain_text("✗ does not balance")
    await page.get_by_role("link", name="Integrations", exact=True).click()
    await expect(page.locator("#glance")).to_contain_text("✗ do not balance")


async def test_what_is_wrong_with_a_file_is_told_with_its_place(stage: Stage) -> None:
    path = stage.daemon.integration("crm", AWS_ACCOUNT_ID="12", AWS_ACCOUNT_REGION="us-east-9")
    page = await stage.open()
    await page.get_by_role("link", name="See what is wrong").click()
    problems = page.locator("#problems li")
    await expect(problems).to_have_count(2)
    await expect(problems.first).to_contain_text(f"{path}:2: AWS_ACCOUNT_ID")
    await expect(problems.first).to_contain_text("Invalid AWS account ID")


async def test_trouble_with_a_destination_is_told_on_its_card_alone(stage: Stage) -> None:
    await flowing(stage, "crm", "audit")
    stage.fault(source=f"{SOURCE}crm", errors=[{"code": "InternalException", "rate": 1}])
    await stage.notify(TOPIC)
    page = await stage.open()
    sick, well = page.locator(".card", has_text="crm"), page.locator(".card", has_text="audit")
    await expect(sick.locator("[data-part=trouble]")).to_contain_text("InternalException")
    await expect(sick).to_have_attribute("data-mood", "warn")
    await expect(sick.get_by_text("events flow")).to_be_hidden()
    await expect(well).to_have_attribute("data-mood", "good")
    await expect(well.locator("[data-part=delivered]")).to_have_text("1")
    stage.fault(source=f"{SOURCE}crm")
    await expect(sick).to_have_attribute("data-mood", "good")
