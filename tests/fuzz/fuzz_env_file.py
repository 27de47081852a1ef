"""An integration's env file: read without raising whatever it holds, and changed without harm to the rest of it.

The first byte chooses a key, the second how many bytes are its new value; the rest is the file.
"""

from forwarder.integrations.env_file import IntegrationFile, _read_values, parse, render, update
from forwarder.rules.validation import Key, Rules

RULES = Rules(frozenset({"us-east-1"}), "aws.partner/genesys.com/cloud", "org-1")


def check(data: bytes) -> None:
    choice, length, rest = data[:1], data[1:2], data[2:]
    file = read(rest)
    assert (file.integration is None) == bool(file.problems)
    assert all(str(problem) and problem.source == "a.env" for problem in file.problems)
    if file.integration is not None:
        assert read(render(file.integration).encode()).integration == file.integration
    if choice and length:
        key, size = list(Key)[choice[0] % len(Key)], length[0]
        check_update(rest[size:], key, rest[:size].decode(errors="replace"))


def check_update(content: bytes, key: Key, value: str) -> None:
    """One key has its new value, all others theirs, and to say it again changes nothing."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return
    before, problems = values(text)
    after = update(text, {key: value})
    if problems:  # a line may be such that nobody can say where it ends
        return
    assert values(after) == ({**before, key: value}, [])
    assert update(after, {key: value}) == after
    kept = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line in kept] == kept or key in before


def values(text: str) -> tuple[dict[str, str], list[str]]:
    """Keys and values, and what is wrong with the lines."""
    given, problems = _read_values(text.removeprefix("\ufeff"))
    return {key: entry.value for key, entry in given.items()}, [str(problem) for problem in problems]


def read(content: bytes) -> IntegrationFile:
    return parse("a", "a.env", content, RULES)
