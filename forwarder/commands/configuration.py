"""Reading the settings that a command needs, with every mistake in them at once."""

from pathlib import Path
from typing import cast

from forwarder.errors import ConfigurationError, Problem
from forwarder.plugins import INTAKES, SINKS, load_intake, load_sink
from forwarder.settings import DEFAULT_ENV_FILE, EnvSettings, PluginChoice, Settings, load_all


def env_file_to_use(env_file: Path | None) -> Path | None:
    """The file that was named; else the default one, where it exists."""
    return env_file or (DEFAULT_ENV_FILE if DEFAULT_ENV_FILE.exists() else None)


def load_settings(env_file: Path | None) -> tuple[Settings, EnvSettings, EnvSettings]:
    """The settings of the daemon, of its intake and of its sink. `env_file` as from `env_file_to_use`.

    Raises:
        ConfigurationError: with every problem found.
    """
    problems: list[Problem] = []
    classes: list[type[EnvSettings]] = [Settings]
    try:
        choice = PluginChoice.load(env_file)
    except ConfigurationError:
        choice = PluginChoice()  # load_all finds the same, and more
    for load, name in ((load_intake, choice.intake), (load_sink, choice.sink)):
        try:
            classes.append(load(name).settings)
        except ConfigurationError as error:
            problems += error.problems
    try:
        loaded = load_all(
            classes, env_file, other_prefixes=[f"FORWARDER_{name.upper()}_" for name in (*INTAKES, *SINKS)]
        )
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    own, intake, sink = loaded
    return cast("Settings", own), intake, sink
