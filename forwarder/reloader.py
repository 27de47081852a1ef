"""Loop 3: the integration files -> a new configuration, whenever they change.

File events bring a change within a tenth of a second or two; a look every few seconds besides, because bind mounts,
ConfigMaps and network disks give no events. Either way every file is read and compared: ten small files are cheaper
than being clever about times and sizes, and nothing is missed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import structlog
from watchfiles import awatch

from forwarder.clock import Clock
from forwarder.integrations.configuration import Configuration, changes, merge
from forwarder.integrations.directory import Contents, DirectoryState, interpret, read_contents
from forwarder.model import Integration
from forwarder.ops.snapshot import ReloadView
from forwarder.rules.validation import Rules

DEBOUNCE_MS = 50  # events closer together than this are one
MAX_DEBOUNCE_MS = 400
OPEN_SECONDS = 0.5
SETTLE_SECONDS = 0.1
MAX_LOOKS_TO_SETTLE = 20

log = structlog.get_logger()


class Reloader:
    """Keeps the configuration in force in line with the directory, and says each change once.

    `remembered` are the integrations that were in force before the start. `on_change` is called on the event loop with
    every new configuration, the first as soon as it is known which integrations there are: not before the directory
    has been read, unless some are remembered. It must not raise. Nothing in the files or around them stops the
    reloader: what is wrong is in the configuration's problems and in the log.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rules: Rules,
        poll_seconds: float,
        clock: Clock,
        on_change: Callable[[Configuration], None],
        remembered: Mapping[str, Integration] | None = None,
        file_events: bool = True,
    ) -> None:
        self.configuration = Configuration(dict(remembered or {}))
        self._known = False  # which integrations there are
        self._directory = directory
        self._rules = rules
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._on_change = on_change
        self._file_events = file_events
        self._contents: Contents | None = None
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._view = ReloadView(successful=False, last_success_at=None, succeeded=0, failed=0, problems=())

    async def run(self) -> None:
        """Look whenever there is reason to, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._file_events:
                group.create_task(self._watch(), name="file-events")
            while True:
                await self.step()

    async def step(self) -> None:
        """Wait for a file event, at most as long as the time between two looks, and look."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        self._wake.clear()
        await self.load_once()

    async def load_once(self) -> Configuration:
        """Look at the files now, and take what has changed. Returns the configuration in force."""
        async with self._looking:
            contents = await self._read_settled()
            if contents != self._contents:
                self._contents = contents
                self._take(await asyncio.to_thread(interpret, contents, self._directory, self._rules))
        return self.configuration

    def view(self) -> ReloadView:
        """The last look, for metrics and status."""
        return self._view

    async def _read_settled(self) -> Contents:
        """Read until two looks in a row agree: a file that is being written is missing or cut short for a moment, and
        half a list of filters is a valid one."""
        contents = await asyncio.to_thread(read_contents, self._directory)
        for _ in range(MAX_LOOKS_TO_SETTLE):
            if self._contents is None or contents == self._contents:
                return contents
            before = contents
            await self._clock.sleep(SETTLE_SECONDS)
            contents = await asyncio.to_thread(read_contents, self._directory)
            if contents == before:
                return contents
        return contents

    def _take(self, state: DirectoryState) -> None:
        before = self.configuration
        after = merge(before, state)
        self._count(after)
        _log_problems(before, after)
        told = changes(before.integrations.values(), after.integrations.values())
        if told or (after.integrations and not self._known):
            log.info("integrations_reloaded", changes=told, in_force=sorted(after.integrations))
        self.configuration = after
        newly_known = not self._known and (state.problem is None or bool(after.integrations))
        self._known = self._known or newly_known
        if newly_known or (self._known and after != before):
            self._on_change(after)

    def _count(self, after: Configuration) -> None:
        successful = not after.problems
        self._view = ReloadView(
            successful=successful,
            last_success_at=self._clock.now() if successful else self._view.last_success_at,
            succeeded=self._view.succeeded + successful,
            failed=self._view.failed + (not successful),
            problems=after.problems,
        )

    async def _watch(self) -> None:
        """Turn file events into looks. Where there are none to be had, say so once and leave it to the polling."""
        told = False
        while True:
            try:
                async for _ in self._events():
                    told = False
                    self._wake.set()
                self._wake.set()  # the path leads elsewhere
            except (
                OSError,
                RuntimeError,
                ExceptionGroup,
            ) as error:  # no such directory, no watches left, watchfiles' own
                if not told:
                    log.warning("file_events_unavailable", error=str(error), polling_seconds=self._poll_seconds)
                told = True
                await self._clock.sleep(self._poll_seconds)

    async def _events(self) -> AsyncIterator[None]:
        """Yield at each file event in the directory; end when its path leads to another directory than before."""
        watched = await asyncio.to_thread(_identity, self._directory)
        timeout = int(self._poll_seconds * 1000)
        events = awatch(
            self._directory,
            watch_filter=None,  # the default one is deaf below directories of certain names, such as node_modules
            debounce=MAX_DEBOUNCE_MS,
            step=DEBOUNCE_MS,
            rust_timeout=timeout,
            yield_on_timeout=True,
            recursive=False,
        )
        # It does not say when it is open; what changed before gives no event. By then it is, so look once more.
        asyncio.get_running_loop().call_later(OPEN_SECONDS, self._wake.set)
        async with contextlib.aclosing(events):
            async for changed in events:
                if changed:
                    yield
                if await asyncio.to_thread(_identity, self._directory) != watched:
                    return


def _identity(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino


def _log_problems(before: Configuration, after: Configuration) -> None:
    for problem in after.problems:
        if problem not in before.problems:
            log.error("integration_file_refused", problem=str(problem))
    for problem in before.problems:
        if problem not in after.problems:
            log.info("integration_file_problem_gone", problem=str(problem))
