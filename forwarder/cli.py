"""The command line. Each command imports what it needs when it is called, so that `--help` is quick.

Exit codes: 0 done, 1 failed while running, 2 bad configuration or usage. Errors go to standard error.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from forwarder.commands.dead_letters.cli import app as dead_letters
from forwarder.commands.integrations.cli import app as integrations
from forwarder.commands.options import EnvFile, Json, Url
from forwarder.commands.spool.cli import app as spool
from forwarder.errors import ConfigurationError, ForwarderError, Problem


class _Commands(TyperGroup):
    """Ends with 1 on Ctrl-C, where typer would end with 130. Commands that follow something end with 0 themselves."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("forwarder: interrupted", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="forwarder",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)
app.add_typer(integrations, name="integrations")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(spool, name="spool")


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except ForwarderError as error:
        lines = error.problems if isinstance(error, ConfigurationError) else [error]
        for line in lines:
            typer.echo(f"forwarder: {line}", err=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        from forwarder.ops.build import version

        typer.echo(f"forwarder {version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
]


@app.callback()
def options(*, version: Version = False) -> None:
    """Carries an organization's notifications into Amazon EventBridge partner event sources."""


@app.command()
def run(env_file: EnvFile = None) -> None:
    """Run the daemon. SIGTERM and SIGINT let it finish what is in flight and end it."""
    from forwarder.commands.run import run_daemon

    run_daemon(env_file)


@app.command()
def check(env_file: EnvFile = None, *, json: Json = False) -> None:
    """Validate the settings and every integration file, and list every mistake."""
    from forwarder.commands.check import find_problems, report

    problems = find_problems(env_file)
    report(problems, as_json=json)
    raise typer.Exit(2 if problems else 0)


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so many seconds and judge the result.")
    ] = None,
) -> None:
    """Run everything on this machine, with made-up notifications and no AWS account."""
    from forwarder.demo.demo import run_demo

    raise typer.Exit(run_demo(seconds))


@app.command()
def emulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes any free one.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    *,
    auto_associate: Annotated[
        bool, typer.Option("--auto-associate", help="New event sources are ACTIVE at once.")
    ] = False,
) -> None:
    """Emulate the partner's side of Amazon EventBridge, for trying out and for tests."""
    from forwarder.commands.emulator import run_emulator

    run_emulator(host, port, auto_associate=auto_associate)


@app.command()
def match(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A concrete topic, such as v2.users.1234.presence.")],
    env_file: EnvFile = None,
    *,
    json: Json = False,
) -> None:
    """Explain which integrations get a topic, and why the others do not, by what their files say."""
    from forwarder.commands.match import explain

    explain(topic, env_file, as_json=json)


@app.command()
def topics(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="A part of a topic, a topic, or a filter; all when left out.")
    ] = "",
    *,
    json: Json = False,
) -> None:
    """Search the catalogue of known topics. Topics that are not in it work as well."""
    from forwarder.commands.output import print_json
    from forwarder.topics import Catalogue

    found = Catalogue.load().search(pattern)
    if json:
        print_json(found)
    elif found:
        typer.echo("\n".join(found))
    else:
        typer.echo(f"No known topic matches {pattern!r}; a filter for it works all the same.", err=True)


@app.command()
def status(
    env_file: EnvFile = None,
    url: Url = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the spool's file and prove that the books equal what is in it.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask the running daemon how it is."""
    if verify:
        from forwarder.commands.spool.file import show_discrepancies

        if url is not None:
            raise ConfigurationError(
                [Problem("--verify reads the spool's file, on the machine that has it", key="--url")]
            )

        return show_discrepancies(env_file, as_json=json)
    from forwarder.commands.daemon import Daemon
    from forwarder.commands.output import print_json
    from forwarder.commands.status import show

    found = Daemon.configured(env_file, url).get("/api/status")
    return print_json(found) if json else show(found)


@app.command()
def tap(
    integration: Annotated[
        str | None, typer.Argument(metavar="[INTEGRATION]", help="Only what this integration gets.")
    ] = None,
    topic: Annotated[str | None, typer.Option(metavar="FILTER", help="Only topics that this filter matches.")] = None,
    env_file: EnvFile = None,
    url: Url = None,
    *,
    json: Json = False,
) -> None:
    """Show a live copy of the events on their way, until Ctrl-C. Looking takes nothing away."""
    from forwarder.commands.daemon import Daemon
    from forwarder.commands.tap import follow

    follow(Daemon.configured(env_file, url), integration, topic, as_json=json)


@app.command()
def top(
    env_file: EnvFile = None,
    url: Url = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 1.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="Show one interval and end.")] = False,
    json: Json = False,
) -> None:
    """Show live rates, backlog, latency and errors of each integration and region, until q or Ctrl-C."""
    from forwarder.commands.daemon import Daemon
    from forwarder.commands.top.screen import show

    show(Daemon.configured(env_file, url), interval, once=once, as_json=json)
