"""Cancel receiver and dispatcher at each of their awaits, kill the daemon, start it again: nothing is lost."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.simulation.__main__ import fast_directory
from tests.simulation.admin import REGIONS
from tests.simulation.aws import Weather
from tests.simulation.loop import Cancellation
from tests.simulation.simulation import Plan, Simulation

PLAN = Plan(
    shuffled=False,
    acknowledges=True,
    chaos_seconds=4,
    quiet_traffic_seconds=0,
    messages=50,
    retention=345_600,
    max_bytes=262_144,
    max_entries=3,
    spool_bytes=1 << 30,
    ceiling=8,
    rate=1400,
    burst=3600,
    reactivate=False,
    crashes=False,
    clock_jumps=False,
    pace=0.001,
    chaos=False,
)


def run(directory: Path, name: str, at: int) -> bool:
    """Run with the cancellation at the `at`-th suspension, and a kill soon after. Says whether it came to that."""
    simulation = Simulation(1, directory, PLAN)
    universe = simulation.universe
    cancellation = universe.cancellation = Cancellation(name, at, within=PLAN.chaos_seconds + 1)
    cancellation.cancelled = lambda: universe.later(0.5, kill)

    def kill() -> None:
        universe.crash_at = universe.steps

    simulation.aws.weather[REGIONS[0]] = Weather.PARTIAL
    simulation.run()
    return cancellation.left <= 0


@pytest.mark.parametrize("name", ["receiver", "housekeeping", "lane:", "call:"])
def test_cancelled_at_every_await(name: str) -> None:
    at = 0
    happened = True
    while happened:
        at += 1
        with TemporaryDirectory(dir=fast_directory()) as directory:
            happened = run(Path(directory), name, at)
    assert at > 10, "it hardly ever waited"
