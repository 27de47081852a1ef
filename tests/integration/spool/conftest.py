"""A real SQLite spool in a directory of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from forwarder.spool.sqlite import SqliteSpool
from tests.integration.spool.conformance import NOW


class StoppedClock:
    """Time stands still."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"the spool does not sleep ({seconds} s)")


def open_spool(directory: Path, **options: int) -> SqliteSpool:
    limits = {"max_bytes": 1 << 30, "max_dead_letters": 10_000, "dead_letter_retention": 1_000_000, **options}
    return SqliteSpool(
        directory,
        max_bytes=limits["max_bytes"],
        max_dead_letters=limits["max_dead_letters"],
        dead_letter_retention=limits["dead_letter_retention"],
        clock=StoppedClock(),
    )


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[list[SqliteSpool]]:
    """All engines that the test has had; they are closed at its end."""
    spools = [open_spool(tmp_path)]
    yield spools
    for spool in spools:
        await spool.close()


@pytest.fixture
def spool(opened: list[SqliteSpool]) -> SqliteSpool:
    return opened[0]


@pytest.fixture
def reopen(tmp_path: Path, opened: list[SqliteSpool]) -> Callable[[SqliteSpool], Awaitable[SqliteSpool]]:
    async def again(spool: SqliteSpool) -> SqliteSpool:
        await spool.close()
        opened.append(open_spool(tmp_path))
        return opened[-1]

    return again
