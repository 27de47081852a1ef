"""Everything that an admin at a browser needs: broker, emulator, a daemon of its own and headless Chromium."""

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, expect

from tests.system.processes import until
from tests.system.rig import Rig

ADMIN = "the-admin-token"
VIEWER = "the-viewer-token"
TOKENS = {"FORWARDER_ADMIN_TOKEN": ADMIN, "FORWARDER_VIEWER_TOKEN": VIEWER}
SOURCE = "aws.partner/genesys.com/cloud/acme/"
BODY = b'{"topicName":"%s","version":"2","eventBody":{"rate":1.0,"huge":1e400,"note":"\\u00e9"}}'
_QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
_SLOW_MS = 15_000  # for what another process brings about

expect.set_options(timeout=_SLOW_MS)


async def chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium, or whatever the PATH has. As root it cannot have its sandbox; it is shown nothing foreign."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "chromium is not installed"
    return await playwright.chromium.launch(executable_path=program, chromium_sandbox=False, args=_QUIET)


class Stage(Rig):
    """A rig with a daemon that has tokens, and windows onto its console. Whatever a page complains of, and whatever it
    asks of another host, is kept in `complaints` and `strangers`."""

    def __init__(self, directory: Path, browser: Browser) -> None:
        # A file may be written before the daemon watches the directory.
        super().__init__(directory, {"FORWARDER_RELOAD_SECONDS": "1"}, {})
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.refusals: list[str] = []
        """What Chromium itself says of refusals, and of a daemon that is away: some tests bring these about."""

    async def begin(self, *, auto_associate: bool = True) -> None:
        self.emulator.state._auto_associate = auto_associate
        await self.emulator.start()
        self.daemon.settings.setdefault("AWS_ENDPOINT_URL_EVENTBRIDGE", self.emulator.url)
        await self.broker.start()
        await self.launch()

    async def launch(self) -> None:
        """Start the daemon, on the same port as the last time."""
        await self.daemon.launch()
        await self.daemon.answering()
        self.daemon.settings["FORWARDER_HTTP_PORT"] = str(self.daemon.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.daemon.port}/"

    async def open(self, view: str = "", *, token: str | None = ADMIN, **window: Any) -> Page:
        """A window of its own, signed in."""
        window.setdefault("viewport", {"width": 1280, "height": 860})
        context = await self._browser.new_context(locale="en-US", timezone_id="UTC", reduced_motion="reduce", **window)
        self._contexts.append(context)
        if token is not None:
            # Only where there is none, so that signing out lasts.
            script = (
                f'sessionStorage.getItem("forwarder-token") ?? sessionStorage.setItem("forwarder-token", "{token}")'
            )
            await context.add_init_script(script)
        page = await context.new_page()
        page.set_default_timeout(_SLOW_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._requested)
        await page.goto(f"{self.url}#{view}")
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        kept = self.refusals if message.text.startswith("Failed to load resource") else self.complaints
        kept.append(message.text)

    def _requested(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("http", "https", "ws", "wss") or address.port == self.daemon.port:
            return
        self.strangers.append(request.url)

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()
        await super().close()

    async def api(self, method: str, path: str, body: Any = None, *, token: str = ADMIN) -> Any:
        """Ask the daemon behind the page's back."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as answer,
        ):
            assert answer.status < 400, await answer.text()
            return await answer.json()

    async def integration(self, id_: str, state: str = "ACTIVE") -> dict[str, Any]:
        """Wait until the daemon reports the state; the integration as `/api/status` has it."""

        async def found() -> dict[str, Any] | None:
            status = await self.api("GET", "api/status")
            return next((each for each in status["integrations"] if (each["id"], each["state"]) == (id_, state)), None)

        integration: dict[str, Any] = await until(found, f"{id_} is {state}")
        return integration

    async def flowing(self) -> None:
        """Wait until the intake is subscribed: what is published now is received."""

        async def subscribed() -> bool:
            status = await self.api("GET", "api/status")
            return bool(status["intake"]["connected"]) and not status["intake"]["detail"].endswith(" 0 subscriptions")

        await until(subscribed, "the intake is subscribed")

    async def notify(self, topic: str, count: int = 1) -> None:
        """Publish notifications of the topic."""
        await self.send(topic, *[BODY % topic.encode()] * count)

    def delivered(self, suffix: str) -> list[str]:
        """The detail-types of what has arrived at the event source."""
        return [event.detail_type for event in self.emulator.state.log.since(0) if event.source == SOURCE + suffix]

    def source_states(self, region: str) -> dict[str, str]:
        """What the emulator knows of the region's event sources, by suffix."""
        found = self.emulator.state.sources(time.time())
        return {source.name.removeprefix(SOURCE): source.state.value for where, source in found if where == region}


@asynccontextmanager
async def staged(directory: Path, browser: Browser) -> AsyncIterator[Stage]:
    """A stage that is not begun yet, and is cleared away at the end."""
    stage = Stage(directory, browser)
    try:
        yield stage
    finally:
        await stage.close()
