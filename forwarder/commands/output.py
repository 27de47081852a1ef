"""How commands print what scripts read."""

from typing import Any

import msgspec
import typer


def print_json(value: Any) -> None:
    """The value as indented JSON on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
