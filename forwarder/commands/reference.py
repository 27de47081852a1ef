"""The reference of all commands in markdown, from their own declarations."""

from collections.abc import Iterator
from typing import Any

import typer


def command_reference(app: typer.Typer, name: str = "forwarder") -> str:
    """A section for each command: what it does, how it is called, its arguments and options."""
    return (
        "\n\n".join("\n".join(_section(path, each)) for path, each in _commands(name, typer.main.get_command(app)))
        + "\n"
    )


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from _commands(f"{path} {name}", child)


def _section(path: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    words = " ".join([path, *(_metavar(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    yield f"### `{words}`"
    yield ""
    yield " ".join(command.help.split())
    if command.params:
        yield ""
        yield "| | |"
        yield "|---|---|"
    for each in (*arguments, *options):
        name = _metavar(each) if each in arguments else ", ".join(reversed(each.opts))
        yield f"| `{name}` | {each.help}{_notes(each)} |"


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _notes(parameter: Any) -> str:
    if parameter.param_type_name == "option" and parameter.required:
        return " Required."
    default = parameter.default
    plain = isinstance(default, int | float) and not isinstance(default, bool)
    return f" Default: {default}." if plain or (isinstance(default, str) and default) else ""
