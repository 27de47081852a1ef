"""`forwarder dead-letters`: the commands as they are typed."""

from typing import Annotated, Any

import typer

from forwarder.commands.options import DryRun, EnvFile, Json, Url, Yes

app = typer.Typer(
    no_args_is_help=True, help="See the events that could not be delivered, send them again, or drop them."
)

Integration = Annotated[str | None, typer.Option("--integration", metavar="ID", help="Only those of this integration.")]
Why = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Only those with this reason.")]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Only those that died so long ago: 90s, 15m, 12h, 2d.")
]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Only these, by the numbers that `list` shows.")
]
Everything = Annotated[bool, typer.Option("--all", help="All of them, where nothing else says which.")]


@app.command("list")
def list_(
    *,
    integration: Integration = None,
    reason: Why = None,
    older_than: OlderThan = None,
    after: Annotated[int, typer.Option(min=0, help="Only those with a higher number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    env_file: EnvFile = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List dead letters, oldest first, with the reason of each."""
    from forwarder.commands.dead_letters.show import show_list

    show_list(_store(env_file, url).page(_which(integration, reason, older_than), after, limit), as_json=json)


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The number that `list` shows.")],
    env_file: EnvFile = None,
    url: Url = None,
    *,
    json: Json = False,
) -> None:
    """Show one dead letter with its event."""
    from forwarder.commands.dead_letters.show import show_one

    show_one(_store(env_file, url).one(number), as_json=json)


@app.command()
def redrive(
    numbers: Numbers = None,
    *,
    integration: Integration = None,
    reason: Why = None,
    older_than: OlderThan = None,
    env_file: EnvFile = None,
    url: Url = None,
    all_: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Deliver dead letters again. Each is taken for a new delivery and may die again."""
    from forwarder.commands.dead_letters.change import redrive as carry_out

    which = _which(integration, reason, older_than, numbers, everything=all_)
    carry_out(_store(env_file, url), which, dry_run=dry_run, yes=yes, as_json=json)


@app.command()
def purge(
    numbers: Numbers = None,
    *,
    integration: Integration = None,
    reason: Why = None,
    older_than: OlderThan = None,
    env_file: EnvFile = None,
    url: Url = None,
    all_: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete dead letters for good. They stay counted."""
    from forwarder.commands.dead_letters.change import purge as carry_out

    which = _which(integration, reason, older_than, numbers, everything=all_)
    carry_out(_store(env_file, url), which, dry_run=dry_run, yes=yes, as_json=json)


def _which(*given: Any, everything: bool | None = None) -> Any:
    from forwarder.commands.dead_letters.which import parse_which

    return parse_which(*given, everything=everything)


def _store(env_file: Any, url: str | None) -> Any:
    from forwarder.commands.dead_letters.stores import choose

    return choose(env_file, url)
