# ruff: noqa: T201  (it prints a table)
"""`python -m tests.fault.soak --minutes N [--seed S]`: steady load, one trouble after the other at random, one oracle.

The seed repeats the choice of troubles and their lengths; what they meet is up to the machine.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from signal import SIGKILL

from tests.fault.matrix import HEADER, SHORT, Row, broken_promises, judged
from tests.fault.rows import load, one_cut, resent
from tests.system.rig import Rig, running

RATE = 400
QUIET_SECONDS = 2.0  # between two troubles: whatever is healthy again has to show it
LONGEST_TROUBLE = 8.0

Trouble = Callable[[Rig, float], Awaitable[None]]


async def fault(rig: Rig, seconds: float, **rule: object) -> None:
    rig.fault(**rule)
    await asyncio.sleep(seconds)
    rig.emulator.faults.clear()


async def destination_away(rig: Rig, seconds: float) -> None:
    await rig.emulator.stop()
    await asyncio.sleep(seconds)
    await rig.emulator.start()


async def broker_away(rig: Rig, seconds: float) -> None:
    await rig.broker.stop()
    await asyncio.sleep(seconds)
    await rig.broker.start()


async def restarted(rig: Rig, seconds: float, *, hard: bool) -> None:
    if hard:
        await rig.daemon.stop(SIGKILL)
    else:
        await rig.daemon.stop()
    await asyncio.sleep(seconds / 4)
    await rig.daemon.launch()
    await rig.daemon.answering()


TROUBLES: Mapping[str, Trouble] = {
    "slow": partial(fault, latency_ms=1000, jitter_ms=1000),
    "503": partial(fault, errors=({"code": "ServiceUnavailable", "rate": 0.5},)),
    "throttled": partial(fault, throttle_rate=0.5),
    "entries fail": partial(fault, entry_errors=({"code": "InternalFailure", "rate": 0.2},)),
    "reset before": partial(fault, reset_before_rate=0.3),
    "reset after": partial(fault, reset_after_rate=0.3),
    "one hangs": partial(fault, region="us-east-1", hang_rate=0.5),
    "destination away": destination_away,
    "broker away": broker_away,
    "SIGTERM": partial(restarted, hard=False),
    "kill -9": partial(restarted, hard=True),
}
CUTS = {"kill -9", "broker away", "one hangs", "destination away", "slow"}
"""After these, what was under way may come once more."""


async def soak(minutes: float, seed: int) -> int:
    dice = random.Random(seed)  # noqa: S311  (troubles that repeat, not a secret)
    cuts = 0
    with tempfile.TemporaryDirectory(prefix="forwarder-soak-") as directory:
        settings = {"FORWARDER_EVENTBRIDGE_TIMEOUT_SECONDS": "3"}
        async with running(Path(directory), settings=settings) as rig, rig.audited():
            publishing = asyncio.create_task(rig.publish(rate=RATE, seconds=minutes * 60))
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                name, seconds = dice.choice(list(TROUBLES)), dice.uniform(1, LONGEST_TROUBLE)
                print(
                    f"{rig.published:>9,} published, {rig.oracle.missing:>7,} under way: {name}, {seconds:.1f} s",
                    flush=True,
                )
                await TROUBLES[name](rig, seconds)
                cuts += name in CUTS
                await asyncio.sleep(QUIET_SECONDS)
            await publishing
            await rig.settled()
            if not rig.oracle.missing:
                await rig.quiet()
            row = Row(f"soak of {minutes:g} minutes, seed {seed}", load)
            twice = cuts * one_cut(rig, SHORT) + resent(rig, SHORT)
            result = judged(row, rig, broken_promises(rig, twice))
    print(f"\n{HEADER}\n{result.line()}")
    return 1 if result.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments = parser.parse_args()
    return asyncio.run(soak(arguments.minutes, arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
