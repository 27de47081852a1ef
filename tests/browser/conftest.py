"""A console with all that belongs to it: see stage.py."""

from collections.abc import AsyncIterator
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.stage import TOKENS, Stage, chromium, staged


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for the folder, so that one browser serves all of its tests."""
    for item in items:
        ours = item.path.parent == Path(__file__).parent
        if ours and isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium. Every page of it has a context of its own."""
    async with async_playwright() as playwright:
        browser = await chromium(playwright)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def bare(tmp_path: Path, browser: Browser) -> AsyncIterator[Stage]:
    """A stage whose daemon has not been started: the test says with which settings. No page may complain or ask
    another host for anything, whatever is tested."""
    async with staged(tmp_path, browser) as stage:
        yield stage
        assert stage.complaints == []
        assert stage.strangers == []


@pytest_asyncio.fixture(loop_scope="session")
async def stage(bare: Stage) -> Stage:
    """An empty directory, a daemon with tokens, and AWS accounts that associate event sources at once."""
    bare.daemon.settings.update(TOKENS)
    await bare.begin()
    return bare
