"""Writes what is generated from the code into README.md and commands.md; --check only says whether it is current."""

import argparse
import re
import sys
from pathlib import Path

from forwarder.cli import app
from forwarder.commands.reference import command_reference
from forwarder.ops.metrics import metrics_table
from forwarder.plugins import INTAKES, SINKS, load_intake, load_sink
from forwarder.settings import Settings, settings_table

README = Path(__file__).parents[1] / "README.md"
COMMANDS = Path(__file__).parent / "commands.md"


def tables() -> dict[str, str]:
    """Every generated table of README.md by the name in its markers."""
    intakes = [load_intake(name).settings for name in INTAKES]
    sinks = [load_sink(name).settings for name in SINKS]
    return {
        "settings": settings_table([Settings, *intakes, *sinks]),
        "metrics": metrics_table(),
    }


def with_tables(text: str, contents: dict[str, str]) -> str:
    """The text with what stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->` replaced.

    Raises:
        ValueError: the markers of a table are not there exactly once.
    """
    for name, table in contents.items():
        between = re.compile(rf"(?<=<!-- generated: {name} -->\n).*?(?=<!-- end: {name} -->\n)", re.DOTALL)
        pieces = between.split(text)
        if len(pieces) != 2:
            raise ValueError(f"{name}: its markers, generated and end, must be there once, each on its own line")
        text = table.join(pieces)
    return text


def main() -> int:
    """Write or check. Returns the exit code: 1 where --check finds a table that is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a table is not current")
    check = parser.parse_args().check
    stale = [
        path
        for path, contents in ((README, tables()), (COMMANDS, {"commands": command_reference(app)}))
        if not _is_current(path, contents, check=check)
    ]
    for path in stale:
        print(f"{path.name}: what is generated in it is not current; run `make docs`", file=sys.stderr)  # noqa: T201  (a command)
    return 1 if stale else 0


def _is_current(path: Path, contents: dict[str, str], *, check: bool) -> bool:
    """Whether the file is current; where this is no mere check it is made so."""
    before = path.read_text(encoding="utf-8")
    after = with_tables(before, contents)
    if not check and after != before:
        path.write_text(after, encoding="utf-8")
    return after == before or not check


if __name__ == "__main__":
    sys.exit(main())
