"""`forwarder integrations`: the commands as they are typed."""

from typing import Annotated, Any

import typer

from forwarder.commands.options import EnvFile, Json, Url, Yes

app = typer.Typer(no_args_is_help=True, help="See and change integrations, through the running daemon or the files.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The integration: its file's name without .env.")]
Name = Annotated[str | None, typer.Option("--name", help="One line, up to 256 characters.")]
Notes = Annotated[str | None, typer.Option("--notes", help="Up to 4096 characters.")]
Account = Annotated[str | None, typer.Option("--account", help="The AWS account ID, 12 digits.")]
Region = Annotated[str | None, typer.Option("--region", help="The AWS region of the event source.")]
Suffix = Annotated[str | None, typer.Option("--suffix", help="The end of the event source's name.")]
Filter = Annotated[
    list[str] | None, typer.Option("--filter", metavar="TOPIC", help="A topic filter; give it once for each.")
]
AddFilter = Annotated[list[str] | None, typer.Option("--add-filter", metavar="TOPIC", help="One filter more.")]
RemoveFilter = Annotated[list[str] | None, typer.Option("--remove-filter", metavar="TOPIC", help="One filter less.")]


@app.command("list")
def list_(env_file: EnvFile = None, url: Url = None, *, json: Json = False) -> None:
    """List the integrations with what each is doing and why."""
    from forwarder.commands.integrations.change import choose
    from forwarder.commands.integrations.show import show_all

    show_all(choose(env_file, url, changing=False).listing(), as_json=json)


@app.command()
def show(id_: Id, env_file: EnvFile = None, url: Url = None, *, json: Json = False) -> None:
    """Show everything about one integration."""
    from forwarder.commands.integrations.change import choose
    from forwarder.commands.integrations.show import show_one

    show_one(choose(env_file, url, changing=False).listing(), id_, as_json=json)


@app.command()
def add(
    id_: Id,
    *,
    name: Name = None,
    notes: Notes = None,
    account: Account = None,
    region: Region = None,
    suffix: Suffix = None,
    filter_: Filter = None,
    env_file: EnvFile = None,
    url: Url = None,
    activate: Annotated[bool, typer.Option("--activate", help="Activate it as well.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Add an integration. Nothing happens in AWS until it is activated."""
    from forwarder.commands.integrations.change import Changes

    changes = Changes(env_file, url, yes=yes, as_json=json)
    words = {"name": name, "notes": notes, "account_id": account, "region": region, "event_source_suffix": suffix}
    changes.add(id_, _edit(filters=filter_, add=None, remove=None, **words), activate=activate)


@app.command("set")
def set_(
    id_: Id,
    *,
    name: Name = None,
    notes: Notes = None,
    account: Account = None,
    region: Region = None,
    suffix: Suffix = None,
    filter_: Filter = None,
    add_filter: AddFilter = None,
    remove_filter: RemoveFilter = None,
    env_file: EnvFile = None,
    url: Url = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Change an integration. Another account, region or suffix deactivates it; anything else is live."""
    from forwarder.commands.integrations.change import Changes

    words = {"name": name, "notes": notes, "account_id": account, "region": region, "event_source_suffix": suffix}
    edit = _edit(filters=filter_, add=add_filter, remove=remove_filter, **words)
    Changes(env_file, url, yes=yes, as_json=json).change(id_, edit)


@app.command()
def activate(id_: Id, env_file: EnvFile = None, url: Url = None, *, yes: Yes = False, json: Json = False) -> None:
    """Create the event source in AWS and start sending; after a change of identity, delete the old one first."""
    from forwarder.commands.integrations.change import Changes

    Changes(env_file, url, yes=yes, as_json=json).activate(id_)


@app.command()
def deactivate(id_: Id, env_file: EnvFile = None, url: Url = None, *, yes: Yes = False, json: Json = False) -> None:
    """Pause the events. The event source in AWS is not touched."""
    from forwarder.commands.integrations.change import Changes

    Changes(env_file, url, yes=yes, as_json=json).deactivate(id_)


@app.command()
def delete(id_: Id, env_file: EnvFile = None, url: Url = None, *, yes: Yes = False, json: Json = False) -> None:
    """Delete an integration with its event source in AWS."""
    from forwarder.commands.integrations.change import Changes

    Changes(env_file, url, yes=yes, as_json=json).delete(id_)


def _edit(*, filters: list[str] | None, add: list[str] | None, remove: list[str] | None, **words: str | None) -> Any:
    from forwarder.commands.integrations.model import Edit

    replaced = None if filters is None else _filters(filters)
    return Edit(**words, topic_filters=replaced, add_filters=_filters(add or []), remove_filters=_filters(remove or []))


def _filters(given: list[str]) -> tuple[str, ...]:
    """What was typed, where one option may hold several as in the file; an empty one stands for none."""
    from forwarder.integrations.env_file import parse_filter_list

    return tuple(dict.fromkeys(each for text in given for each in parse_filter_list(text)))
