"""`python -m tests.simulation SEED` replays one seed; `--seconds N` runs new ones for so long. Exit 1: one failed."""

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.simulation.plants import PLANTS
from tests.simulation.simulation import Simulation


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="*", type=int, help="the seeds to run")
    parser.add_argument("--seconds", type=float, help="run seeds one after the other for so long at most")
    parser.add_argument("--first", type=int, help="the first of these seeds (default: of the time)")
    parser.add_argument("--trace", type=int, default=60, help="how many lines of a failing seed's trace to print")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant this fault in the daemon first")
    parser.add_argument("--seeds", type=int, help="run at most so many seeds")
    parser.add_argument("--digest", action="store_true", help="print a hash of everything that happened")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what a seed decides
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606  (itself)
    if given.plant:
        PLANTS[given.plant]()
    deadline = time.monotonic() + (given.seconds or float("inf"))
    first = given.first if given.first is not None else time.time_ns() % 1_000_000_000
    seeds = given.seed or range(first, first + given.seeds if given.seeds else sys.maxsize)
    ran, virtual = 0, 0.0
    for seed in seeds:
        if not given.seed and time.monotonic() > deadline:
            break
        failure, simulation = run(seed)
        ran, virtual = ran + 1, virtual + simulation.universe.now
        if given.digest:
            _say(f"{seed} {simulation.trace.digest}")
        if failure:
            _say("\n".join([*[*simulation.trace.tail][len(simulation.trace.tail) - given.trace :], failure]))
            _say(f"seed {seed} failed; replay it with: python -m tests.simulation {seed}")
            return 1
    _say(f"{ran} seeds ran, {virtual / 3600:.1f} simulated hours, nothing lost")
    return 0


def run(seed: int) -> tuple[str | None, Simulation]:
    """Run one seed. Returns what went wrong, if anything did."""
    with tempfile.TemporaryDirectory(prefix="sim-", dir=fast_directory()) as directory:
        simulation = Simulation(seed, Path(directory))
        try:
            simulation.run()
        except Exception:  # noqa: BLE001  (whatever it is, the seed has failed)
            return traceback.format_exc(), simulation
        return None, simulation


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def fast_directory() -> str | None:
    """Where files are as fast as memory, if there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (a directory in it is made by tempfile)


if __name__ == "__main__":
    sys.exit(main())
