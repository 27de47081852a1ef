"""The options that several commands share. Imports nothing but typer, so that `--help` is quick."""

from pathlib import Path
from typing import Annotated

import typer

EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        help="The settings; environment variables win over it. Default: config/forwarder.env, if it exists.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the daemon is; by default where the settings put it."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
