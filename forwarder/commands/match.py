"""`forwarder match`: what becomes of a topic, by what the integration files say now."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import typer
from dotenv import dotenv_values

from forwarder.commands.configuration import env_file_to_use
from forwarder.commands.output import print_json
from forwarder.errors import ConfigurationError, Problem
from forwarder.integrations.directory import SUFFIX, read_contents
from forwarder.integrations.env_file import parse_filter_list
from forwarder.model import IntendedState
from forwarder.rules.routing_table import Explanation, RoutingTable
from forwarder.rules.topic_filter import TopicFilterError, parse_topic_filters
from forwarder.rules.validation import Key
from forwarder.settings import IntegrationFiles
from forwarder.topics import Catalogue


class Filters(msgspec.Struct, frozen=True):
    """The filters in one integration's file. Whether the rest of the file is valid, `forwarder check` says."""

    enabled: bool
    topic_filters: tuple[str, ...]


def explain(topic: str, env_file: Path | None, *, as_json: bool) -> None:
    """Print which integrations get the topic under which detail-type, and what every filter says to it.

    Raises:
        ConfigurationError: the settings or the directory of the integrations cannot be read.
    """
    directory = IntegrationFiles.load(env_file_to_use(env_file)).integrations_dir
    filters, problems = _read_filters(directory)
    for problem in problems:
        typer.echo(f"forwarder: {problem}", err=True)
    catalogue = Catalogue.load()
    enabled = {id_: each.topic_filters for id_, each in filters.items() if each.enabled}
    routes = RoutingTable.compile(enabled, catalogue).explain(topic)
    everything = RoutingTable.compile({id_: each.topic_filters for id_, each in filters.items()}, catalogue)
    explained = msgspec.structs.replace(routes, verdicts=everything.explain(topic).verdicts)
    if as_json:
        print_json(_as_json(explained, filters))
    else:
        typer.echo("\n".join(_lines(explained, filters)))


def _read_filters(directory: Path) -> tuple[dict[str, Filters], list[Problem]]:
    contents = read_contents(directory)
    if isinstance(contents, Problem):
        raise ConfigurationError([contents])
    filters: dict[str, Filters] = {}
    problems = []
    for name, content in contents.items():
        if isinstance(content, Problem):
            problems.append(content)
            continue
        try:
            filters[name.removesuffix(SUFFIX)] = _filters(content)
        except (ValueError, TopicFilterError) as error:
            problems.append(Problem(str(error), str(directory / name), key=Key.EVENT_FILTER))
    return filters, problems


def _filters(content: bytes) -> Filters:
    values = dotenv_values(stream=StringIO(content.decode("utf-8-sig")), interpolate=False)
    topic_filters = parse_filter_list(values.get(Key.EVENT_FILTER) or "")
    parse_topic_filters(topic_filters)
    return Filters(values.get(Key.INTENDED_STATE) == IntendedState.ENABLED, topic_filters)


def _as_json(explained: Explanation, filters: dict[str, Filters]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(explained)
    for verdict, given in zip(plain["verdicts"], explained.verdicts, strict=True):
        verdict |= {"matches": given.matches, "enabled": filters[given.integration_id].enabled}
    return plain


def _lines(explained: Explanation, filters: dict[str, Filters]) -> Iterator[str]:
    yield f"topic     {explained.topic}"
    yield f"template  {explained.template or 'not in the catalogue'}"
    for route in explained.routes:
        yield f"goes to   {', '.join(route.integration_ids)} as {route.detail_type}"
    if not explained.routes:
        yield "goes to   no integration"
    for id_, each in sorted(filters.items()):
        yield ""
        yield id_ if each.enabled else f"{id_} (not enabled: gets nothing)"
        if not each.topic_filters:
            yield "  no filter: gets nothing"
        for verdict in explained.verdicts:
            if verdict.integration_id == id_:
                yield f"  {verdict.topic_filter}: {verdict.mismatch or 'matches'}"
