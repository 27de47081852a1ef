"""Seeds that have found something, as many new ones as time allows, and proof that the simulation finds mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plants import PLANTS

SECONDS = float(os.environ.get("FORWARDER_SIMULATION_SECONDS", "60"))
ROOT = Path(__file__).parents[2]

REGRESSIONS = (4, 7, 31, 62, 107, 1001, 1046, 1052, 1123, 2153, 6014, 67156935)
"""Seeds that have failed once. A change of the simulation gives a seed another run: what they found is therefore kept
as a planted fault, too."""

FIRST = {"spin_on_a_clock_set_back": 1050, "trust_a_claim": 1080}
"""Where to begin to look for a fault that few seeds find. The others are found within a dozen from 1000 on."""


def simulate(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of its sets is fixed, and planted faults stay in there."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_seeds_that_have_failed_once() -> None:
    done = simulate(*map(str, REGRESSIONS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(SECONDS + 120)
def test_new_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    done = simulate("--seconds", str(SECONDS), timeout=SECONDS + 100)
    assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        sys.stdout.write(f"\n{done.stdout}")


def test_a_seed_is_the_same_run_every_time() -> None:
    first = simulate("11", "12", "13", "--digest")
    again = simulate("13", "12", "11", "--digest")
    assert sorted(first.stdout.splitlines()) == sorted(again.stdout.splitlines())
    digests = [line.split()[1] for line in first.stdout.splitlines()[:3]]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("plant", sorted(PLANTS))
@pytest.mark.timeout(300)
def test_a_planted_fault_is_found(plant: str) -> None:
    done = simulate("--plant", plant, "--first", str(FIRST.get(plant, 1000)), "--seeds", "150", timeout=280)
    assert done.returncode == 1, f"{plant} was not found: {done.stdout}{done.stderr}"
    assert "failed; replay it with" in done.stdout
