"""The plug-ins, one line each. No other module imports one.

Third parties add theirs by an entry point in the group `forwarder.intakes` or `forwarder.sinks` that names an
`IntakePlugin` or a `SinkPlugin`.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from typing import TypeVar

from forwarder.errors import ConfigurationError, Problem
from forwarder.intake.base import IntakePlugin
from forwarder.sinks.base import SinkPlugin

# Modules, not objects: only the chosen plug-in and the libraries it needs are imported.
INTAKES = {
    "mqtt": "forwarder.intake.mqtt",
    "websocket": "forwarder.intake.websocket",
    "file": "forwarder.intake.file",
}
SINKS = {
    "eventbridge": "forwarder.sinks.eventbridge",
    "stdout": "forwarder.sinks.stdout",
}

_Plugin = TypeVar("_Plugin", IntakePlugin, SinkPlugin)


def load_intake(name: str) -> IntakePlugin:
    """The intake of that name. Raises ConfigurationError where there is none or it cannot be imported."""
    return _load(name, INTAKES, "forwarder.intakes", "FORWARDER_INTAKE", IntakePlugin)


def load_sink(name: str) -> SinkPlugin:
    """The sink of that name. Raises ConfigurationError where there is none or it cannot be imported."""
    return _load(name, SINKS, "forwarder.sinks", "FORWARDER_SINK", SinkPlugin)


def _load(name: str, own: Mapping[str, str], group: str, key: str, kind: type[_Plugin]) -> _Plugin:
    if name in own:
        plugin = import_module(own[name]).PLUGIN
        assert isinstance(plugin, kind)  # noqa: S101  (ours; the type checker cannot see through import_module)
        return plugin
    theirs: EntryPoints = entry_points(group=group)
    if name not in theirs.names:
        known = ", ".join([*own, *sorted(theirs.names)])
        raise ConfigurationError([Problem(f"there is no plug-in {name!r}", key=key, hint=f"installed are: {known}")])
    try:
        plugin = theirs[name].load()
    except Exception as error:
        problem = Problem(f"the plug-in {name!r} cannot be imported: {error}", key=key)
        raise ConfigurationError([problem]) from error
    if not isinstance(plugin, kind):
        problem = Problem(f"the entry point {name!r} in {group} names no {kind.__name__}", key=key)
        raise ConfigurationError([problem])
    return plugin
