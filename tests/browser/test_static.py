"""What the console is made of: small, complete, ours, and served so that nothing else can run in it."""

import re
from importlib.resources import files

import aiohttp

from forwarder.console.routes import OPEN_PATHS
from tests.browser.stage import Stage

MAX_BYTES = 120_000
STATIC = files("forwarder.console").joinpath("static")


def texts() -> dict[str, str]:
    return {each.name: each.read_text() for each in STATIC.iterdir()}


def test_all_of_it_is_small() -> None:
    assert sum(len(text.encode()) for text in texts().values()) < MAX_BYTES


def test_it_names_nothing_on_another_host() -> None:
    namespaces = ("http://www.w3.org/2000/svg", "https://html.spec.whatwg.org/")
    for name, text in texts().items():
        for address in re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+/\S*", text):
            assert address.startswith(namespaces), name


def test_modules_import_what_there_is_and_use_it() -> None:
    imported, exported = set(), set()
    for name, text in texts().items():
        exported |= {
            (name, each)
            for each in re.findall(r"^export (?:async )?(?:const|class|function\*?) (\w+)", text, re.MULTILINE)
        }
        for names, module in re.findall(r'^import \{([^}]+)\} from "\./([^"]+)";$', text, re.MULTILINE):
            for each in filter(None, map(str.strip, names.split(","))):
                imported.add((module, each))
                assert len(re.findall(rf"\b{each}\b", text)) > 1, f"{name} does not use {each}"
    assert imported == exported


def test_there_is_nothing_inline_that_the_policy_would_stop() -> None:
    page = texts()["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


async def test_it_is_open_kept_by_the_browser_and_under_its_policy(stage: Stage) -> None:
    async with aiohttp.ClientSession() as session:
        for path in OPEN_PATHS:
            url = stage.url.rstrip("/") + path
            async with session.get(url) as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
                assert "unsafe" not in policy
                etag = answer.headers["ETag"]
            async with session.get(url, headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
        async with session.get(stage.url + "api/session") as answer:
            assert answer.status == 401
        async with session.get(stage.url + "console/../app.py") as answer:
            assert answer.status in (401, 404)
