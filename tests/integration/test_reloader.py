import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import watchfiles
from structlog.testing import capture_logs

from forwarder.integrations.configuration import Configuration
from forwarder.integrations.directory import DirectoryState, interpret, write_atomically
from forwarder.model import Integration
from forwarder.reloader import MAX_LOOKS_TO_SETTLE, Reloader
from forwarder.rules.validation import Rules

GOOD = """\
AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX={suffix}
EVENT_FILTER={filters}
INTENDED_STATE=ENABLED
"""
RULES = Rules(frozenset({"us-east-1"}), "aws.partner/genesys.com/cloud", "org-1")
WAIT = 30.0  # how long a test that waits for a signal may wait before it fails


class InstantClock:
    """Waits by letting others run. `on_sleep` is what happens meanwhile."""

    def __init__(self) -> None:
        self.on_sleep: Callable[[], object] = lambda: None

    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.on_sleep()
        await asyncio.sleep(0)


class Harness:
    """A reloader on real files, with what it has emitted."""

    def __init__(
        self,
        directory: Path,
        *,
        poll_seconds: float = 60.0,
        file_events: bool = False,
        remembered: Mapping[str, Integration] | None = None,
    ) -> None:
        self.directory = directory
        self.clock = InstantClock()
        self.emitted: list[Configuration] = []
        self.changed = asyncio.Event()
        self.reloader = Reloader(
            directory,
            rules=RULES,
            poll_seconds=poll_seconds,
            clock=self.clock,
            on_change=self._on_change,
            remembered=remembered,
            file_events=file_events,
        )

    def put(self, name: str, filters: str = "v2.users.#", suffix: str | None = None) -> Path:
        path = self.directory / f"{name}.env"
        path.write_text(GOOD.format(suffix=suffix or name, filters=filters))
        return path

    async def look(self) -> Configuration:
        return await self.reloader.load_once()

    def filters(self) -> dict[str, str]:
        return {name: ",".join(each.topic_filters) for name, each in self.reloader.configuration.integrations.items()}

    def problems(self) -> list[str]:
        return [problem.message for problem in self.reloader.view().problems]

    def _on_change(self, configuration: Configuration) -> None:
        self.emitted.append(configuration)
        self.changed.set()


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@contextlib.asynccontextmanager
async def running(harness: Harness) -> AsyncIterator[None]:
    task = asyncio.create_task(harness.reloader.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], nudge: Callable[[], object]) -> None:
    """Wait for the condition. The nudge is done again and again, as nobody says when watching has begun."""
    async with asyncio.timeout(WAIT):
        while not condition():
            nudge()
            await asyncio.sleep(0.2)


async def test_the_first_look_loads_everything(harness: Harness, logs: list[Any]) -> None:
    harness.put("crm")
    harness.put("sales", "a, b")
    configuration = await harness.look()
    assert harness.filters() == {"crm": "v2.users.#", "sales": "a,b"}
    assert harness.emitted == [configuration]
    assert logs == [
        {
            "event": "integrations_reloaded",
            "log_level": "info",
            "changes": {"crm": ["added"], "sales": ["added"]},
            "in_force": ["crm", "sales"],
        }
    ]


async def test_a_look_at_the_same_files_emits_and_logs_nothing(harness: Harness, logs: list[Any]) -> None:
    harness.put("crm")
    (harness.directory / "bad.env").write_text("x")
    await harness.look()
    logged = len(logs)
    await harness.look()
    harness.put("crm")  # touched, not changed
    await harness.look()
    assert len(harness.emitted) == 1
    assert len(logs) == logged
    assert harness.reloader.view().succeeded + harness.reloader.view().failed == 1


async def test_an_edit_that_changes_no_value_emits_nothing(harness: Harness) -> None:
    path = harness.put("crm")
    await harness.look()
    path.write_text(path.read_text() + "# a comment\n")
    await harness.look()
    assert len(harness.emitted) == 1
    assert harness.reloader.view().succeeded == 2


async def test_an_edit_of_the_same_size_and_time_is_noticed(harness: Harness) -> None:
    path = harness.put("crm", "aaa")
    stamps = path.stat()
    await harness.look()
    harness.put("crm", "bbb")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    await harness.look()
    assert harness.filters() == {"crm": "bbb"}


async def test_a_replacement_by_rename_is_noticed(harness: Harness) -> None:
    path = harness.put("crm", "a")
    await harness.look()
    write_atomically(path, GOOD.format(suffix="crm", filters="b"))
    await harness.look()
    assert harness.filters() == {"crm": "b"}


async def test_a_config_maps_swap_is_noticed(harness: Harness) -> None:
    for version, filters in (("..1", "a"), ("..2", "b")):
        (harness.directory / version).mkdir()
        (harness.directory / version / "crm.env").write_text(GOOD.format(suffix="crm", filters=filters))
    (harness.directory / "crm.env").symlink_to("..data/crm.env")
    (harness.directory / "..data").symlink_to("..1")
    await harness.look()
    (harness.directory / "..data_tmp").symlink_to("..2")
    (harness.directory / "..data_tmp").rename(harness.directory / "..data")
    await harness.look()
    assert harness.filters() == {"crm": "b"}


async def test_a_bad_file_leaves_what_runs_and_is_told_once(harness: Harness, logs: list[Any]) -> None:
    path = harness.put("crm", "a")
    harness.put("sales", "a")
    await harness.look()
    path.write_text(path.read_text().replace("us-east-1", "moon-1"))
    harness.put("sales", "b")
    for _ in range(3):
        await harness.look()
    assert harness.filters() == {"crm": "a", "sales": "b"}
    told = [entry["problem"] for entry in logs if entry["event"] == "integration_file_refused"]
    assert len(told) == 1
    assert told[0].startswith(f"{path}:2: AWS_ACCOUNT_REGION: Invalid AWS Region")
    harness.put("crm", "c")
    await harness.look()
    assert harness.filters() == {"crm": "c", "sales": "b"}
    assert [entry["problem"] for entry in logs if entry["event"] == "integration_file_problem_gone"] == told


async def test_the_view_counts_looks_that_found_a_change(harness: Harness) -> None:
    harness.put("crm")
    await harness.look()
    good = harness.reloader.view()
    assert (good.successful, good.succeeded, good.failed, good.problems) == (True, 1, 0, ())
    assert good.last_success_at == harness.clock.now()
    (harness.directory / "bad.env").write_text("x")
    await harness.look()
    bad = harness.reloader.view()
    assert (bad.successful, bad.succeeded, bad.failed, bad.last_success_at) == (False, 1, 1, good.last_success_at)
    assert bad.problems == harness.reloader.configuration.problems != ()


async def test_a_vanished_file_takes_its_integration_out_and_is_remembered(harness: Harness) -> None:
    path = harness.put("crm")
    await harness.look()
    path.unlink()
    configuration = await harness.look()
    assert configuration.integrations == {}
    assert list(configuration.vanished) == ["crm"]
    harness.put("crm")
    assert (await harness.look()).vanished == {}


async def test_a_vanished_directory_touches_nothing_and_its_return_is_noticed(
    harness: Harness, logs: list[Any]
) -> None:
    harness.put("crm", "a")
    await harness.look()
    away = harness.directory.with_name("away")
    harness.directory.rename(away)
    for _ in range(2):
        await harness.look()
    assert harness.filters() == {"crm": "a"}
    assert [entry["event"] for entry in logs] == ["integrations_reloaded", "integration_file_refused"]
    away.rename(harness.directory)
    harness.put("crm", "b")
    await harness.look()
    assert harness.filters() == {"crm": "b"}
    assert harness.problems() == []


async def test_a_file_that_becomes_unreadable_pauses_its_integration(harness: Harness) -> None:
    path = harness.put("crm", "a")
    harness.put("other", "b")
    await harness.look()
    path.unlink()
    path.symlink_to(path.name)
    await harness.look()
    assert harness.filters() == {"other": "b"}
    assert harness.problems() == ["the file cannot be read: Too many levels of symbolic links"]
    path.unlink()
    harness.put("crm", "a")
    await harness.look()
    assert harness.filters() == {"crm": "a", "other": "b"}
    assert harness.problems() == []


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
async def test_a_suffix_conflict_is_the_newcomers_and_ends_when_it_does(
    harness: Harness, first: str, second: str
) -> None:
    path = harness.put(first, suffix="same")
    await harness.look()
    harness.put(second, suffix="same")
    await harness.look()
    assert list(harness.filters()) == [first]
    assert harness.problems() == [f"Event source suffix must be unique: {first} has it"]
    path.unlink()
    await harness.look()
    assert list(harness.filters()) == [second]
    assert harness.problems() == []


async def test_the_eleventh_integration_is_refused_until_there_is_room(harness: Harness) -> None:
    paths = [harness.put(f"i{number}") for number in range(10)]
    await harness.look()
    harness.put("a")
    await harness.look()
    assert "a" not in harness.filters()
    assert len(harness.problems()) == 1
    paths[3].unlink()
    await harness.look()
    assert "a" in harness.filters()
    assert harness.problems() == []


async def test_a_file_in_the_middle_of_being_written_is_waited_for(harness: Harness) -> None:
    harness.put("crm", "a")
    await harness.look()
    texts = iter(["", "NAME=half", GOOD.format(suffix="crm", filters="b")])
    path = harness.directory / "crm.env"

    def write_on() -> None:
        with contextlib.suppress(StopIteration):
            path.write_text(next(texts))

    write_on()
    harness.clock.on_sleep = write_on
    await harness.look()
    assert harness.filters() == {"crm": "b"}
    assert len(harness.emitted) == 2  # nothing of what was there in between


async def test_an_editors_rename_dance_does_not_pause_the_integration(harness: Harness) -> None:
    path = harness.put("crm", "a")
    await harness.look()
    path.rename(path.with_suffix(".env~"))
    harness.clock.on_sleep = lambda: harness.put("crm", "b")
    await harness.look()
    assert [list(each.vanished) for each in harness.emitted] == [[], []]
    assert harness.filters() == {"crm": "b"}


async def test_a_file_that_never_rests_is_taken_all_the_same(harness: Harness) -> None:
    harness.put("crm", "a")
    await harness.look()
    numbers = iter(range(1000))
    harness.clock.on_sleep = lambda: harness.put("crm", f"n{next(numbers)}")
    harness.put("crm", "b")
    await harness.look()
    assert harness.filters() == {"crm": f"n{MAX_LOOKS_TO_SETTLE - 1}"}


async def test_two_looks_at_once_take_each_change_once(harness: Harness) -> None:
    harness.put("crm")
    await asyncio.gather(*(harness.look() for _ in range(5)))
    assert len(harness.emitted) == 1


async def test_a_slow_look_cannot_undo_a_later_one(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, reading = threading.Event(), threading.Event()

    def interpret_slowly(*arguments: Any) -> DirectoryState:
        if not reading.is_set():
            reading.set()
            assert slow.wait(WAIT)
        return interpret(*arguments)

    monkeypatch.setattr("forwarder.reloader.interpret", interpret_slowly)
    harness.put("crm", "a")
    first = asyncio.create_task(harness.look())
    assert await asyncio.to_thread(reading.wait, WAIT)
    harness.put("crm", "b")
    second = asyncio.create_task(harness.look())
    await asyncio.wait({second}, timeout=0.3)  # it should not come to an end, and cannot say so
    slow.set()
    await asyncio.gather(first, second)
    assert harness.filters() == {"crm": "b"}


class TestAfterARestart:
    """What was in force before is remembered."""

    async def restarted(self, harness: Harness) -> Harness:
        before = await harness.look()
        return Harness(harness.directory, remembered=before.integrations)

    async def test_what_is_as_it_was_is_taken_and_told_once(self, harness: Harness, logs: list[Any]) -> None:
        harness.put("crm")
        after = await self.restarted(harness)
        logs.clear()
        await after.look()
        assert after.emitted == harness.emitted
        assert [(entry["event"], entry["changes"], entry["in_force"]) for entry in logs] == [
            ("integrations_reloaded", {}, ["crm"])
        ]

    async def test_a_file_that_is_bad_leaves_the_last_good_version_in_force(self, harness: Harness) -> None:
        path = harness.put("crm", "a")
        after = await self.restarted(harness)
        path.write_text(path.read_text() + "TYPO=1\n")
        await after.look()
        assert [list(configuration.integrations) for configuration in after.emitted] == [["crm"]]
        assert (after.filters(), len(after.problems())) == ({"crm": "a"}, 1)
        harness.put("crm", "b")
        await after.look()
        assert (after.filters(), after.problems()) == ({"crm": "b"}, [])

    async def test_a_directory_that_is_gone_changes_nothing(self, harness: Harness) -> None:
        harness.put("crm", "a")
        after = await self.restarted(harness)
        away = harness.directory.with_name("away")
        harness.directory.rename(away)
        await after.look()
        assert [list(configuration.integrations) for configuration in after.emitted] == [["crm"]]
        assert "No such file or directory" in after.problems()[0]
        away.rename(harness.directory)
        await after.look()
        assert (after.filters(), after.problems()) == ({"crm": "a"}, [])

    async def test_of_two_with_one_suffix_the_one_that_ran_goes_on(self, harness: Harness) -> None:
        harness.put("sales", suffix="same")
        after = await self.restarted(harness)
        harness.put("crm", suffix="same")  # comes first by its id
        await after.look()
        assert list(after.filters()) == ["sales"]

    async def test_a_file_that_went_meanwhile_is_out_of_force(self, harness: Harness) -> None:
        path = harness.put("crm")
        after = await self.restarted(harness)
        path.unlink()
        await after.look()
        assert [(each.integrations, list(each.vanished)) for each in after.emitted] == [({}, ["crm"])]


async def test_an_empty_directory_says_that_there_are_no_integrations(harness: Harness) -> None:
    await harness.look()
    assert harness.emitted == [Configuration()]


async def test_nothing_is_said_of_integrations_before_it_is_known_which_there_are(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "later")
    await harness.look()
    assert (harness.emitted, len(harness.problems())) == ([], 1)
    harness.directory.mkdir()
    await harness.look()
    assert harness.emitted == [Configuration()]


async def test_polling_alone_brings_every_change(tmp_path: Path) -> None:
    harness = Harness(tmp_path, poll_seconds=0.02)
    async with running(harness):
        harness.put("crm", "a")
        await until(lambda: harness.filters() == {"crm": "a"}, nudge=lambda: None)
        harness.put("crm", "b")
        await until(lambda: harness.filters() == {"crm": "b"}, nudge=lambda: None)


@pytest.mark.parametrize("name", ["integrations", "node_modules"])
async def test_file_events_bring_a_change_without_waiting_for_the_poll(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    harness = Harness(directory, poll_seconds=3600.0, file_events=True)
    async with running(harness):
        await until(lambda: harness.filters() == {"crm": "a"}, nudge=lambda: harness.put("crm", "a"))
        harness.changed.clear()
        harness.put("crm", "b")
        async with asyncio.timeout(WAIT):
            await harness.changed.wait()
        assert harness.filters() == {"crm": "b"}


async def test_a_change_before_the_watch_is_open_is_not_left_to_the_poll(tmp_path: Path) -> None:
    harness = Harness(tmp_path, poll_seconds=3600.0, file_events=True)
    await harness.reloader.load_once()
    harness.put("crm", "a")
    async with running(harness):
        await until(lambda: harness.filters() == {"crm": "a"}, nudge=lambda: None)


async def test_file_events_bring_a_config_maps_swap(tmp_path: Path) -> None:
    harness = Harness(tmp_path, poll_seconds=3600.0, file_events=True)
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "crm.env").write_text(GOOD.format(suffix="crm", filters=f"v{version}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "crm.env").symlink_to("..data/crm.env")
    async with running(harness):
        await until(lambda: harness.filters().get("crm") == "v1", nudge=lambda: harness.put("other"))
        harness.changed.clear()
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        async with asyncio.timeout(WAIT):
            await harness.changed.wait()
        assert harness.filters()["crm"] == "v2"


async def test_a_directory_that_was_replaced_is_watched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[object] = []

    def awatch(*paths: Path, **options: Any) -> Any:
        watched.append(paths[0].stat().st_ino)
        return watchfiles.awatch(*paths, **options)

    monkeypatch.setattr("forwarder.reloader.awatch", awatch)
    directory = tmp_path / "integrations"
    directory.mkdir()
    harness = Harness(directory, poll_seconds=0.1, file_events=True)
    async with running(harness):
        await until(lambda: harness.filters() == {"crm": "a"}, nudge=lambda: harness.put("crm", "a"))
        directory.rename(tmp_path / "old")
        directory.mkdir()
        await until(lambda: len(set(watched)) == 2, nudge=lambda: harness.put("crm", "b"))
        assert watched[-1] == directory.stat().st_ino


@pytest.mark.parametrize(
    "error", [OSError("OS file watch limit reached"), ExceptionGroup("watch", [RuntimeError("internal")])]
)
async def test_without_file_events_it_polls_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: list[Any], error: Exception
) -> None:
    tries = 0

    async def awatch(*_: Path, **__: Any) -> AsyncIterator[set[Any]]:
        nonlocal tries
        tries += 1
        raise error
        yield set()

    monkeypatch.setattr("forwarder.reloader.awatch", awatch)
    harness = Harness(tmp_path, poll_seconds=0.02, file_events=True)
    async with running(harness):
        harness.put("crm", "a")
        await until(lambda: harness.filters() == {"crm": "a"} and tries > 2, nudge=lambda: None)
    assert [entry["event"] for entry in logs].count("file_events_unavailable") == 1


async def test_a_missing_directory_is_told_and_taken_up_when_it_comes(tmp_path: Path, logs: list[Any]) -> None:
    directory = tmp_path / "later"
    harness = Harness(directory, poll_seconds=0.05, file_events=True)
    async with running(harness):
        await until(lambda: harness.problems() != [], nudge=lambda: None)
        directory.mkdir()
        harness.put("crm", "a")
        await until(lambda: harness.filters() == {"crm": "a"}, nudge=lambda: None)
    refused = [entry for entry in logs if entry["event"] == "integration_file_refused"]
    assert len(refused) == 1
    assert "No such file or directory" in refused[0]["problem"]


async def test_it_ends_promptly_when_cancelled(tmp_path: Path) -> None:
    harness = Harness(tmp_path, poll_seconds=3600.0, file_events=True)
    async with asyncio.timeout(WAIT):
        async with running(harness):
            await until(lambda: bool(harness.filters()), nudge=lambda: harness.put("crm"))
