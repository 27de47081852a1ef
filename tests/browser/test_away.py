"""The page when the daemon is away, busy beyond measure, or is another one when it comes back."""

import json
from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.stage import ADMIN, Stage

WATCH_LONG_TASKS = """
    window.longest = 0;
    new PerformanceObserver(list => list.getEntries().forEach(each => {
        window.longest = Math.max(window.longest, each.duration);
    })).observe({type: "longtask", buffered: true});
"""
MAX_TASK_MS = 400  # of one task of the page, on a machine that is busy with the rest of the test


async def test_the_daemon_goes_away_and_comes_back(stage: Stage) -> None:
    stage.daemon.integration("crm")
    await stage.integration("crm")
    page = await stage.open()
    await expect(page.locator("#connection")).to_have_text("Ready")
    await stage.daemon.stop()
    await expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    await expect(page.locator("#connection")).to_have_text("Unreachable")
    await expect(page.get_by_role("heading", name="crm")).to_be_visible()
    await stage.launch()
    await expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_hidden()
    await expect(page.locator("#connection")).to_have_text("Ready")


async def test_a_daemon_with_other_tokens_asks_for_one_anew(stage: Stage) -> None:
    page = await stage.open()
    await expect(page.get_by_role("button", name="Add integration", exact=True)).to_be_visible()
    await stage.daemon.stop()
    stage.daemon.settings["FORWARDER_ADMIN_TOKEN"] = "another"
    await stage.launch()
    await expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    await page.get_by_label("Token").fill("another")
    await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    await expect(page.locator("#connection")).to_have_text("Ready")


async def test_nobody_is_asked_while_the_page_is_hidden(stage: Stage) -> None:
    page = await stage.open()
    await expect(page.locator("#connection")).to_have_text("Ready")
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')) }"
    await page.evaluate(hide, True)
    asked: list[str] = []
    await page.wait_for_load_state("networkidle")
    page.on("request", lambda request: asked.append(request.url))
    # Two looks' time in which nothing must happen: there is nothing to wait for.
    await page.wait_for_timeout(4500)
    assert asked == []
    async with page.expect_request("**/api/status"):
        await page.evaluate(hide, False)


async def test_ten_integrations_and_a_million_pending_do_not_slow_the_page(stage: Stage) -> None:
    for number in range(10):
        stage.daemon.integration(f"i{number}")
    await stage.integration("i9")
    page = await stage.open(token=None)
    await page.add_init_script(f"sessionStorage['forwarder-token'] = '{ADMIN}'")
    await page.add_init_script(WATCH_LONG_TASKS)
    delivered = 0

    async def busy(route: Route) -> None:
        nonlocal delivered
        delivered += 10_000
        status = await (await route.fetch()).json()
        books: dict[str, Any] = {"matched": delivered + 1_000_000, "delivered": delivered, "pending": 1_000_000}
        books |= {"expired": 0, "dead_lettered": {}, "retried": {}}
        status["books"]["integrations"] = {each["id"]: books for each in status["integrations"]}
        status["now"] = 1e9 + delivered / 5_000
        await route.fulfill(body=json.dumps(status), content_type="application/json")

    await page.route("**/api/status", busy)
    await page.reload()
    await expect(page.locator(".card")).to_have_count(10)
    await expect(page.locator(".card [data-part=pending]").first).to_have_text("1M")
    await expect(page.locator(".card [data-part=rate]").first).to_have_text("5,000")
    assert await page.evaluate("longest") < MAX_TASK_MS


async def test_the_tap_keeps_up_with_thousands_of_events_a_second(stage: Stage) -> None:
    page = await stage.open(token=None)
    await page.add_init_script(f"sessionStorage['forwarder-token'] = '{ADMIN}'")
    await page.add_init_script(WATCH_LONG_TASKS)
    await page.route("**/api/tap?*", flood)
    await page.goto(f"{stage.url}#tap")
    await page.reload()
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#tap-count")).to_contain_text("20,000 seen, 12,345 not shown")
    assert await page.locator("#tap-list > li").count() <= 200
    assert await longest(page) < MAX_TASK_MS


async def longest(page: Page) -> float:
    return float(await page.evaluate("longest"))


async def flood(route: Route) -> None:
    """Four seconds of 5,000 events a second, at once."""
    event: dict[str, Any] = {"integration": "crm", "topic": "v2.users.u1.presence", "detail_type": "x", "id": "0"}
    event |= {"time": 1, "received_at": 1.0, "detail": json.dumps({"pad": "x" * 100})}
    block = f"event: event\ndata: {json.dumps(event)}\n\n"
    dropped = 'event: dropped\ndata: {"count":12345}\n\n'
    await route.fulfill(body=block * 20_000 + dropped, content_type="text/event-stream")
