"""What was given, where, and how to say what is wrong with it. The reading half of the settings."""

import os
import re
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import msgspec
from dotenv.parser import Binding, parse_stream
from pydantic_core import ErrorDetails

from forwarder.errors import Problem

_MANY_SPACES = re.compile(r"[^\S\r\n]{1000}")


class Given(msgspec.Struct, frozen=True):
    """A value as it was given, and where. `line` is None for the environment."""

    value: str
    source: str
    line: int | None = None

    def problem(self, message: str, key: str | None, hint: str | None = None) -> Problem:
        """What is wrong with it, at its place."""
        return Problem(message, self.source, self.line, key, hint)


def collect(env_file: Path | None) -> tuple[dict[str, Given], list[Problem]]:
    """Everything given, the file's values first and the environment's over them. An empty value counts as not given."""
    given, problems = ({}, []) if env_file is None else read_env_file(env_file)
    given |= {key: Given(value, "environment") for key, value in os.environ.items() if value}
    return {key: entry for key, entry in given.items() if entry.value}, problems


def read_env_file(path: Path) -> tuple[dict[str, Given], list[Problem]]:
    """The file's keys, without `${}` expansion: a password is taken as it stands."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return {}, [Problem(f"the env file cannot be read: {reason}", source=str(path))]
    if many_spaces := line_of_many_spaces(text):
        return {}, [Problem("a thousand spaces in a row", str(path), many_spaces)]
    given: dict[str, Given] = {}
    problems = []
    for binding in parse_stream(StringIO(text)):
        line = _line_of(binding)
        if binding.error:
            problems.append(Problem("the line is not KEY=VALUE", str(path), line))
        elif binding.key is not None and binding.key in given:
            first = f"the key is given twice, first in line {given[binding.key].line}"
            problems.append(Problem(first, str(path), line, binding.key))
        elif binding.key is not None:
            given[binding.key] = Given(binding.value or "", str(path), line)
    return given, problems


def line_of_many_spaces(text: str) -> int | None:
    """The first line with a thousand spaces in a row: python-dotenv looks for a comment in a time that grows with the
    square of such a run. None where there is no such line."""
    spaces = _MANY_SPACES.search(text)
    return text.count("\n", 0, spaces.start()) + 1 if spaces else None


def _line_of(binding: Binding) -> int:
    """The key's line; python-dotenv counts the blank lines above it as part of it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


_MESSAGES = {
    "missing": "is required",
    "string_pattern_mismatch": "has a form that is not allowed",
    "string_too_short": "is too short",
    "string_too_long": "is longer than {max_length} characters",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "byte_size": "is not a size in bytes such as 10GiB",
    "byte_size_unit": "is not a size in bytes such as 10GiB",
    "literal_error": "is not one of {expected}",
    "greater_than": "is not more than {gt:.10g}",
    "greater_than_equal": "is less than {ge:.10g}",
    "less_than": "is not less than {lt:.10g}",
    "less_than_equal": "is more than {le:.10g}",
}


def describe(
    failure: ErrorDetails, key: str | None, hint: str | None, given: Given | None, secrets: Iterable[str]
) -> Problem:
    """A pydantic failure in the user's words. A validator's own words may quote a secret, and must not."""
    template = _MESSAGES.get(failure["type"])
    message = template.format(**failure.get("ctx", {})) if template else failure["msg"].removeprefix("Value error, ")
    for secret in secrets:
        message = message.replace(secret, "***")
    return given.problem(message, key, hint) if given else Problem(message, key=key, hint=hint)
