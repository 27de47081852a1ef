"""Searches for bytes that break a parser, guided by which code they reach. `python -m tests.fuzz.run decode env_file`
takes these harnesses, without names all of them; `--seconds` is for each. What was found is named and kept in
.fuzz/<harness>: put it into tests/fuzz/corpus/<harness>, where every test run replays it."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
WORK = Path(".fuzz")
NAMES = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def main() -> int:
    """Run each harness in a process of its own, since the fuzzer ends the one it runs in."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="harness", help=", ".join(NAMES))
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        fuzz(given.names[0], given.seconds)
    failed = []
    for name in given.names or NAMES:
        print(f"=== {name}: {given.seconds} s", flush=True)  # noqa: T201  (a program for a terminal)
        command = [sys.executable, "-m", "tests.fuzz.run", "--inside", "--seconds", str(given.seconds), name]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"broken: {', '.join(failed)}" if failed else "nothing found")  # noqa: T201  (likewise)
    return 1 if failed else 0


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one harness; does not return."""
    with atheris.instrument_imports(include=["forwarder", "dotenv"]):
        harness = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    grown = WORK / name
    grown.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    options += [f"-artifact_prefix={grown.parent / name}-", str(grown), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], *options], harness.check)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
