"""One integration's env file: read with all its problems, written, and changed in place without losing a comment.

The syntax is python-dotenv's, without `${}` expansion: a value is what is written.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from io import StringIO

import msgspec
from dotenv.parser import Binding, parse_stream

from forwarder.errors import Problem
from forwarder.given import line_of_many_spaces
from forwarder.model import Integration, IntendedState
from forwarder.rules.validation import Key, Rules, validate

DEFAULT_NAME = "Amazon EventBridge Source"

_REQUIRED = (Key.AWS_ACCOUNT_ID, Key.AWS_ACCOUNT_REGION, Key.EVENT_SOURCE_SUFFIX)
_SEPARATORS = re.compile(r"[\s,]+")

# A line that python-dotenv has read as KEY=VALUE, taken apart by its own patterns (dotenv/parser.py).
_BEFORE_VALUE = re.compile(r"\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=#\s]+)[^\S\r\n]*=[^\S\r\n]*")
_QUOTED_VALUE = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
_END_OF_VALUE = re.compile(r"\s#|[\r\n]|\Z")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._/:@+-]+")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class IntegrationFile(msgspec.Struct, frozen=True):
    """What one file says: an integration, or why there is none. `lines` has the line of each key, `values` what is
    written there, right or wrong; both are empty where the file is no text of that kind. `readable` is False where it
    could not be read at all, so that nobody knows what it says."""

    path: str
    integration: Integration | None
    problems: tuple[Problem, ...] = ()
    lines: dict[str, int] = {}
    values: dict[str, str] = {}
    readable: bool = True


class _Given(msgspec.Struct, frozen=True):
    """A value and its line."""

    value: str
    line: int


def parse(integration_id: str, path: str, content: bytes, rules: Rules) -> IntegrationFile:
    """Read one file's content. Never raises: everything wrong is in `problems`, each with file, line and key."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return IntegrationFile(path, None, (Problem("the file is not UTF-8 text", path, line),))
    if many_spaces := line_of_many_spaces(text):
        return IntegrationFile(path, None, (Problem("a thousand spaces in a row", path, many_spaces),))
    given, problems = _read_values(text)
    lines = {key: entry.line for key, entry in given.items()}
    values = {key: entry.value for key, entry in given.items()}
    integration, own_problems = _build(integration_id, values, rules)
    located = (_locate(problem, path, lines) for problem in (*problems, *own_problems))
    in_order = tuple(sorted(located, key=lambda problem: problem.line or len(text)))
    return IntegrationFile(path, None if in_order else integration, in_order, lines, values)


def render(integration: Integration) -> str:
    """The file of a new integration."""
    return "".join(f"{key}={_quote(value)}\n" for key, value in values_of(integration).items())


def values_of(integration: Integration) -> dict[str, str]:
    """The integration as the keys and values of its file."""
    return {
        Key.NAME: integration.name,
        Key.NOTES: integration.notes,
        Key.AWS_ACCOUNT_ID: integration.account_id,
        Key.AWS_ACCOUNT_REGION: integration.region,
        Key.EVENT_SOURCE_SUFFIX: integration.event_source_suffix,
        Key.EVENT_FILTER: ", ".join(integration.topic_filters),
        Key.INTENDED_STATE: integration.intended_state,
    }


def update(text: str, changes: Mapping[str, str]) -> str:
    """The file's text with these keys' values replaced and everything else as it was: comments, order, other lines.
    Keys that are not in it are added at the end."""
    missing = dict(changes)
    written = []
    for binding in parse_stream(StringIO(text, newline="")):
        line = binding.original.string
        key = binding.key
        if key is not None and key in changes and binding.value is not None:
            missing.pop(key, None)
            line = _replace_value(line, changes[key])
        written.append(line)
    newline = "\r\n" if "\r\n" in text else "\n"
    added = [f"{key}={_quote(value)}{newline}" for key, value in missing.items()]
    if added and written and not written[-1].endswith(("\n", "\r")):
        written.append(newline)
    byte_order_mark = "\ufeff" if text.startswith("\ufeff") else ""  # python-dotenv drops it
    return byte_order_mark + "".join(written + added)


def parse_filter_list(value: str) -> tuple[str, ...]:
    """The filters in a value of EVENT_FILTER: a JSON list, or separated by commas and whitespace. Repetitions
    count once.

    Raises:
        ValueError: it begins as a JSON list and is none of strings.
    """
    if value.lstrip().startswith("["):
        filters = msgspec.json.decode(value, type=list[str])  # its errors are ValueErrors
    else:
        filters = [part for part in _SEPARATORS.split(value) if part]
    return tuple(dict.fromkeys(filters))


def _read_values(text: str) -> tuple[dict[str, _Given], list[Problem]]:
    given: dict[str, _Given] = {}
    problems = []
    for binding in parse_stream(StringIO(text, newline="")):
        key, line = binding.key, _line_of(binding)
        if binding.error:
            problems.append(Problem("the line is not KEY=VALUE", line=line, hint="is a quotation mark left open?"))
        elif key is None:
            continue
        elif key not in Key.__members__:
            near = get_close_matches(key, Key, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(Key)}"
            problems.append(Problem("unknown key", line=line, key=key, hint=hint))
        elif key in given:
            fault = f"the key is given twice, first in line {given[key].line}"
            problems.append(Problem(fault, line=line, key=key))
        else:
            given[key] = _Given(binding.value or "", line)
            if binding.value is None:
                problems.append(Problem("the key has no '='", line=line, key=key, hint=f"write {key}=…"))
    return given, problems


def _line_of(binding: Binding) -> int:
    """The key's line; python-dotenv counts the blank lines above it as part of it."""
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _build(integration_id: str, values: Mapping[str, str], rules: Rules) -> tuple[Integration, list[Problem]]:
    state, problems = _intended_state(values)
    filters: tuple[str, ...] = ()
    try:
        filters = parse_filter_list(values.get(Key.EVENT_FILTER, ""))
    except ValueError as error:
        hint = 'as in ["v2.users.{id}.presence"], in single quotation marks if it goes over several lines'
        problems.append(Problem(f"not a JSON list of strings: {error}", key=Key.EVENT_FILTER, hint=hint))
    integration = Integration(
        id=integration_id,
        name=values.get(Key.NAME, DEFAULT_NAME),
        notes=values.get(Key.NOTES, ""),
        account_id=values.get(Key.AWS_ACCOUNT_ID, ""),
        region=values.get(Key.AWS_ACCOUNT_REGION, ""),
        event_source_suffix=values.get(Key.EVENT_SOURCE_SUFFIX, ""),
        topic_filters=filters,
        intended_state=state,
    )
    missing = set(_REQUIRED) - set(values) if state is IntendedState.ENABLED else set()
    problems += (Problem("the key is missing", key=key) for key in _REQUIRED if key in missing)
    problems += (problem for problem in validate(integration, rules) if problem.key not in missing)
    return integration, problems


def _intended_state(values: Mapping[str, str]) -> tuple[IntendedState, list[Problem]]:
    """Where it is missing or wrong the file counts as ENABLED, so that everything else wrong is told as well."""
    hint = f"it is {' or '.join(IntendedState)}"
    if Key.INTENDED_STATE not in values:
        return IntendedState.ENABLED, [Problem("the key is missing", key=Key.INTENDED_STATE, hint=hint)]
    value = values[Key.INTENDED_STATE]
    if value not in IntendedState.__members__:
        return IntendedState.ENABLED, [Problem(f"{value!r} is no state", key=Key.INTENDED_STATE, hint=hint)]
    return IntendedState(value), []


def _locate(problem: Problem, path: str, lines: Mapping[str, int]) -> Problem:
    line = problem.line or (lines.get(problem.key) if problem.key else None)
    return msgspec.structs.replace(problem, source=path, line=line)


def _replace_value(line: str, value: str) -> str:
    before = _BEFORE_VALUE.match(line)
    if before is None:  # cannot be: python-dotenv has read it as KEY=VALUE
        raise ValueError(f"not a line with a value: {line!r}")
    rest = line[before.end() :]
    if rest.startswith("#") and not before[0].endswith("="):  # no value, only a comment
        return f"{before[0]}{_quote(value)} {rest}"
    return f"{before[0]}{_quote(value)}{rest[_value_length(rest) :]}"


def _value_length(rest: str) -> int:
    if quoted := _QUOTED_VALUE.match(rest):
        return quoted.end()
    return len(_END_OF_VALUE.split(rest, maxsplit=1)[0].rstrip())


def _quote(value: str) -> str:
    return value if _PLAIN_VALUE.fullmatch(value) else f'"{value.translate(_ESCAPES)}"'
