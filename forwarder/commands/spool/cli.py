"""`forwarder spool`: the commands as they are typed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from forwarder.commands.options import EnvFile, Json, Yes

app = typer.Typer(no_args_is_help=True, help="Look into the spool's file, save what is in it, mend it.")

File = Annotated[
    Path | None,
    typer.Option("--file", help="The spool's file, also one that was moved aside; by default the daemon's."),
]


class Kind(StrEnum):
    """What an event that is not delivered yet is waiting for."""

    PENDING = "pending"
    PARKED = "parked"
    DEAD = "dead"


@app.command()
def inspect(file: File = None, env_file: EnvFile = None, *, json: Json = False) -> None:
    """Show tables, positions, sizes and the oldest event. Safe beside a running daemon."""
    from forwarder.commands.spool.file import show, spool_file
    from forwarder.spool.reader import reading

    with reading(spool_file(env_file, file)) as reader:
        show(reader.inspect(), as_json=json)


@app.command()
def export(
    file: File = None,
    integration: Annotated[
        str | None, typer.Option("--integration", metavar="ID", help="Only what is for this integration.")
    ] = None,
    state: Annotated[list[Kind] | None, typer.Option(help="Only these; give it once for each. Default: all.")] = None,
    env_file: EnvFile = None,
) -> None:
    """Print all events that are not delivered as JSON lines. Damaged pages are passed over; the exit code is then 1."""
    from forwarder.commands.spool.file import print_export, spool_file
    from forwarder.spool.reader import reading

    with reading(spool_file(env_file, file)) as reader:
        print_export(reader, integration, [str(each) for each in state or Kind])


@app.command()
def repair(env_file: EnvFile = None, *, yes: Yes = False, json: Json = False) -> None:
    """Mend the spool while no daemon runs: keep what can be read, count what cannot, set the books right."""
    from forwarder.commands.spool.file import carry_out_repair

    carry_out_repair(env_file, yes=yes, as_json=json)
