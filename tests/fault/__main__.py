# ruff: noqa: T201  (it prints a table)
"""`python -m tests.fault [--short] [NAME...]`: the fault matrix as a table; exit 1 if a promise was broken."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fault.matrix import HEADER, LONG, SHORT, run_row
from tests.fault.rows import ROWS, long_rows


async def matrix(names: list[str], *, short: bool) -> int:
    scale = SHORT if short else LONG
    rows = [row for row in (*ROWS, *long_rows(scale)) if not names or any(name in row.name for name in names)]
    print(HEADER, flush=True)
    broken = 0
    for row in rows:
        with tempfile.TemporaryDirectory(prefix="forwarder-faults-") as directory:
            result = await run_row(row, scale, Path(directory))
        print(result.line(), flush=True)
        broken += bool(result.broken)
    print(f"\n{len(rows) - broken} of {len(rows)} rows held")
    return 1 if broken or not rows else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("names", nargs="*", help="only rows whose name holds one of these")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, as in CI")
    arguments = parser.parse_args()
    return asyncio.run(matrix(arguments.names, short=arguments.short))


if __name__ == "__main__":
    sys.exit(main())
