"""`forwarder check`: everything that is wrong, before the daemon has to say it."""

from pathlib import Path

import typer

from forwarder.commands.configuration import env_file_to_use, load_settings
from forwarder.commands.output import print_json
from forwarder.errors import ConfigurationError, Problem
from forwarder.integrations.configuration import Configuration, merge
from forwarder.integrations.directory import read_directory
from forwarder.integrations.regions import eventbridge_regions
from forwarder.rules.validation import Rules
from forwarder.settings import IntegrationFiles, Settings


def find_problems(env_file: Path | None) -> list[Problem]:
    """Every problem of the settings and of the integration files. Files are read even where settings are wrong."""
    env_file = env_file_to_use(env_file)
    try:
        settings, _, _ = load_settings(env_file)
        rules = Rules(eventbridge_regions(), settings.event_source_prefix, settings.organization_id)
        return _integration_problems(settings.integrations_dir, rules)
    except ConfigurationError as error:
        problems = error.problems
    try:
        directory = IntegrationFiles.load(env_file).integrations_dir
    except ConfigurationError:
        return problems  # it is among them
    # The organization's id is not known, or may be wrong; it is not the files' fault.
    rules = Rules(eventbridge_regions(), Settings.model_fields["event_source_prefix"].default, "organization")
    return [*problems, *_integration_problems(directory, rules)]


def report(problems: list[Problem], *, as_json: bool) -> None:
    """Each problem on a line of its own."""
    if as_json:
        print_json({"ok": not problems, "problems": problems})
        return
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        typer.echo(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found.", err=True)
    else:
        typer.echo("Settings and integrations are in order.")


def _integration_problems(directory: Path, rules: Rules) -> list[Problem]:
    return list(merge(Configuration(), read_directory(directory, rules)).problems)
